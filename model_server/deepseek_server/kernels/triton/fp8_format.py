"""How DeepSeek ships weights in eight bits; apart from the kernels, which need Triton."""

import torch

# Values that share a factor: of a token, and of a side of a block of weights.
BLOCK = 128
FP8 = torch.float8_e4m3fn
# The largest number of float8_e4m3.
LARGEST = 448.0
