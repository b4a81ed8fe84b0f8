"""DeepSeek's fp8 format of weights; separate from the kernels, which need Triton."""

import torch

# Values of a token that share a scale, and the side length of a block of weights.
BLOCK = 128
FP8 = torch.float8_e4m3fn
# The largest number of float8_e4m3.
LARGEST = 448.0
