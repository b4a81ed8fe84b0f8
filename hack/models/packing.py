"""Conversion of a model's files into the fp8 layout that DeepSeek ships.

Every matrix of a layer except the router and the indexer's weights_proj becomes float8_e4m3, with a
float32 scale for each block of 128 x 128 in a tensor whose name ends in `weight_scale_inv`;
config.json describes the format.
"""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad

BLOCK, LARGEST = 128, 448.0
_PACKED = re.compile(
    r"model\.layers\.\d+\.(mlp\..*_proj|self_attn\.\w+_proj(_with_mqa)?|self_attn\.indexer\.(wq_b|wk))"
    r"\.weight"
)


def pack(directory: Path, *, powers: bool = False) -> dict[str, torch.Tensor]:
    """Pack a directory's model.safetensors.

    Args:
        directory: The directory of the model; its files are replaced.
        powers: Whether scales are powers of two, stored in eight bits (`ue8m0`).

    Returns:
        The dequantised tensors, in float32, by their original names.
    """
    file = directory / "model.safetensors"
    tensors, meant = load_file(file), {}
    for name in [name for name in tensors if _PACKED.fullmatch(name)]:
        numbers, factors = _quantise(tensors[name].float(), powers=powers)
        tensors[name], tensors[f"{name}_scale_inv"] = numbers, factors
        meant[name] = _whole(numbers, factors)
    save_file(tensors, file, metadata={"format": "pt"})
    packing = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [BLOCK, BLOCK],
    }
    if powers:
        packing["scale_fmt"] = "ue8m0"
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": packing}))
    return meant


def _quantise(weight: torch.Tensor, *, powers: bool) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = weight.shape
    blocks = pad(weight, (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = blocks.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK))
    factors = blocks.abs().amax((1, 3)) / LARGEST
    if powers:
        factors = factors.to(torch.float8_e8m0fnu)
    numbers = (blocks / factors.float()[:, None, :, None]).clamp(-LARGEST, LARGEST)
    packed = numbers.flatten(2, 3).flatten(0, 1)[:rows, :columns].to(torch.float8_e4m3fn)
    return packed.contiguous(), factors


def _whole(numbers: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Return the dequantised matrix, computed block by block as the format defines it."""
    whole = numbers.float()
    for row in range(factors.shape[0]):
        for column in range(factors.shape[1]):
            rows = slice(row * BLOCK, (row + 1) * BLOCK)
            columns = slice(column * BLOCK, (column + 1) * BLOCK)
            whole[rows, columns] *= factors[row, column].float()
    return whole
