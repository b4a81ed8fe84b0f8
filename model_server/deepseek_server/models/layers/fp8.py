"""Block-quantised fp8 weights as DeepSeek ships them: the reference arithmetic.

A float8_e4m3 matrix has a float32 scale for each block of 128 x 128 values; the products of both
are the weights. To multiply with such a matrix without expanding it, the activations are quantised
to fp8 too, with a scale for each 128 values of a token (DeepSeek-AI, "DeepSeek-V3 Technical
Report", arXiv:2412.19437, section 3.3.2). The functions here are the reference implementation: they
run on every device, in float32, and the kernels are tested against them.
"""

from collections.abc import Mapping
from typing import Any

import torch

from deepseek_server.errors import PermanentError
from deepseek_server.kernels.triton.fp8_format import BLOCK, FP8, LARGEST

# Lower bound of the largest value of a group: dividing by a smaller scale would overflow.
_SMALLEST = 1e-10


def check(config: Mapping[str, Any], name: str) -> None:
    """Check that the weights are not quantised, or quantised in the supported way.

    Args:
        config: The model's config.json.
        name: The model's name, for the message.

    Raises:
        PermanentError: They are quantised in another way; names the differing settings.
    """
    packing = config.get("quantization_config")
    if not packing:
        return
    wanted = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [BLOCK, BLOCK]}
    found = {"fmt": "e4m3", **packing}
    wrong = [f"{key} {found.get(key)!r}" for key in wanted if found.get(key) != wanted[key]]
    if wrong:
        raise PermanentError(
            f"the weights of {name} have a quantisation that this server does not support "
            f"({', '.join(wrong)} in config.json): use the model as DeepSeek ships it, in fp8 with "
            f"blocks of {BLOCK} x {BLOCK}, or an unquantised copy"
        )


def powers_of_two(config: Mapping[str, Any]) -> bool:
    """Return whether a model uses power-of-two scales for activations, as V3.1 and V3.2 do."""
    return (config.get("quantization_config") or {}).get("scale_fmt") == "ue8m0"


def blocks(count: int) -> int:
    """Return the number of blocks of `count` values."""
    return -(-count // BLOCK)


def dequantise(weight: torch.Tensor, scale: torch.Tensor, first_row: int = 0) -> torch.Tensor:
    """Return the dequantised weights of an fp8 matrix, in float32.

    Args:
        weight: Rows of a matrix: [rows, columns].
        scale: The scales of their blocks: [blocks of rows, blocks of columns].
        first_row: Number of rows of the first block that precede the given rows.
    """
    rows, columns = weight.shape
    factors = scale.float().repeat_interleave(BLOCK, 0)[first_row : first_row + rows]
    return weight.float() * factors.repeat_interleave(BLOCK, 1)[:, :columns]


def quantise(values: torch.Tensor, powers: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise the activations of a matrix product to fp8.

    Args:
        values: [tokens, n]; n is a multiple of 128.
        powers: Whether the scales are rounded up to powers of two.

    Returns:
        The fp8 values, [tokens, n], and their scales, [tokens, n / 128].
    """
    groups = values.float().unflatten(-1, (-1, BLOCK))
    scale = groups.abs().amax(-1).clamp(min=_SMALLEST) / LARGEST
    if powers:
        scale = torch.exp2(torch.ceil(torch.log2(scale)))
    return (groups / scale[..., None]).flatten(-2).to(FP8), scale


def multiply(
    values: torch.Tensor, values_scale: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Multiply the result of `quantise` with an fp8 matrix: [tokens, rows], float32.

    Args:
        values: [tokens, columns].
        values_scale: [tokens, columns / 128].
        weight: [rows, columns].
        scale: [blocks of rows, blocks of columns].
    """
    whole = values.float() * values_scale.repeat_interleave(BLOCK, 1)
    return whole @ dequantise(weight, scale).T
