"""Weights in eight bits as DeepSeek ships them: the numbers, without a model.

A matrix of float8_e4m3 has a float32 factor for each block of 128 x 128 values; the products of
both are the weights. To multiply with such a matrix without making it larger, the other side is
brought into eight bits too, with a factor for each 128 values of a token (DeepSeek-AI, "DeepSeek-V3
Technical Report", arXiv:2412.19437, section 3.3.2). What is computed here is the reference: it
runs everywhere, in float32, and says what is right.
"""

from collections.abc import Mapping
from typing import Any

import torch

from deepseek_server.errors import PermanentError
from deepseek_server.kernels.triton.fp8_format import BLOCK, FP8, LARGEST

# Factors of values that are all zero, or nearly: dividing by less would overflow.
_SMALLEST = 1e-10


def check(config: Mapping[str, Any], name: str) -> None:
    """Refuse weights that are packed in another way.

    Args:
        config: The model's config.json.
        name: What the model is called.

    Raises:
        PermanentError: Says how they are packed.
    """
    packing = config.get("quantization_config")
    if not packing:
        return
    wanted = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [BLOCK, BLOCK]}
    found = {"fmt": "e4m3", **packing}
    wrong = [f"{key} {found.get(key)!r}" for key in wanted if found.get(key) != wanted[key]]
    if wrong:
        raise PermanentError(
            f"the weights of {name} are quantised in a way that this server cannot read "
            f"({', '.join(wrong)} in config.json): use the model as DeepSeek ships it, in fp8 with "
            f"blocks of {BLOCK} x {BLOCK}, or an unquantised copy"
        )


def powers_of_two(config: Mapping[str, Any]) -> bool:
    """Whether a model wants the factors of its inputs to be powers of two, as V3.1 and V3.2 do."""
    return (config.get("quantization_config") or {}).get("scale_fmt") == "ue8m0"


def blocks(count: int) -> int:
    """How many blocks so many values have."""
    return -(-count // BLOCK)


def dequantise(weight: torch.Tensor, scale: torch.Tensor, first_row: int = 0) -> torch.Tensor:
    """The weights that a matrix of eight bits stands for, in float32.

    Args:
        weight: Rows of a matrix: [rows, columns].
        scale: The factors of their blocks: [blocks of rows, blocks of columns].
        first_row: How many rows of its first block are not among the rows.
    """
    rows, columns = weight.shape
    factors = scale.float().repeat_interleave(BLOCK, 0)[first_row : first_row + rows]
    return weight.float() * factors.repeat_interleave(BLOCK, 1)[:, :columns]


def quantise(values: torch.Tensor, powers: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring the inputs of a matrix into eight bits.

    Args:
        values: [tokens, n]; n is a multiple of 128.
        powers: Whether the factors are rounded up to powers of two.

    Returns:
        The numbers, [tokens, n], and their factors, [tokens, n / 128].
    """
    groups = values.float().unflatten(-1, (-1, BLOCK))
    scale = groups.abs().amax(-1).clamp(min=_SMALLEST) / LARGEST
    if powers:
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
    return (groups / scale[..., None]).flatten(-2).to(FP8), scale


def multiply(
    values: torch.Tensor, values_scale: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Multiply what `quantise` gave with a matrix of eight bits: [tokens, rows], float32.

    Args:
        values: [tokens, columns].
        values_scale: [tokens, columns / 128].
        weight: [rows, columns].
        scale: [blocks of rows, blocks of columns].
    """
    whole = values.float() * values_scale.repeat_interleave(BLOCK, 1)
    return whole @ dequantise(weight, scale).T
