"""Multiplying in eight bits on an NVIDIA GPU. What is right is in models/fp8.py.

Single matrices are multiplied by cuBLAS, through torch: it takes factors of 1 x 128 and 128 x 128
blocks on GPUs of compute capability 9, from CUDA 12.9 on
(https://docs.nvidia.com/cuda/cublas/#scaling-factors-layouts). For many matrices at once it has
nothing alike, so the experts have a kernel of their own.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch.nn.functional import ScalingType, scaled_mm

from deepseek_server.models.fp8 import BLOCK, FP8, LARGEST

# Groups of 128 values that one program brings into eight bits.
_GROUPS = 16
# Rows of cuBLAS's factors of weights, and tokens, come in fours.
_ALIGNED = 4
# Tokens of a tile, when experts get few and when they get many.
_FEW, _MANY = 16, 64


@triton.jit
def _quantise_kernel(
    values,
    numbers,
    factors,
    tokens,
    all_groups,
    row_groups,
    token_stride,
    group_stride,
    POWERS: tl.constexpr,  # noqa: N803 - Triton's style
    LARGEST: tl.constexpr,  # noqa: N803
    GROUPS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Groups beyond the tokens become zeros, with factors of one."""
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    token = group // row_groups
    places = group[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    value = tl.load(values + places, mask=(token < tokens)[:, None], other=0.0).to(tl.float32)
    factor = tl.maximum(tl.max(tl.abs(value), 1), 1e-10) / LARGEST
    if POWERS:
        factor = tl.exp2(tl.ceil(tl.log2(factor)))
    there = group < all_groups
    number = (value / factor[:, None]).to(numbers.dtype.element_ty)
    tl.store(numbers + places, number, mask=there[:, None])
    place = token * token_stride + (group % row_groups) * group_stride
    tl.store(factors + place, factor, mask=there)


def quantise(values: torch.Tensor, tokens: int, powers: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """See fp8.quantise.

    Args:
        values: [n, columns], contiguous.
        tokens: How many rows the result has; those that `values` lacks are zero.
        powers: Whether the factors are rounded up to powers of two.

    Returns:
        [tokens, columns] and [tokens, columns / 128], the latter with the tokens side by side in
        memory, as cuBLAS wants it.
    """
    columns = values.shape[1]
    row_groups = columns // BLOCK
    numbers = torch.empty(tokens, columns, dtype=FP8, device=values.device)
    factors = torch.empty(row_groups, tokens, dtype=torch.float32, device=values.device).t()
    groups = tokens * row_groups
    if groups:
        _quantise_kernel[(triton.cdiv(groups, _GROUPS),)](
            values,
            numbers,
            factors,
            values.shape[0],
            groups,
            row_groups,
            factors.stride(0),
            factors.stride(1),
            POWERS=powers,
            LARGEST=LARGEST,
            GROUPS=_GROUPS,
            BLOCK=BLOCK,
        )
    return numbers, factors


def linear_scale(scale: torch.Tensor) -> torch.Tensor:
    """The factors of a weight as `linear` wants them: [columns / 128, a multiple of 4, rows / 128]."""
    columns = scale.shape[1]
    padded = torch.nn.functional.pad(scale, (0, -columns % _ALIGNED))
    return padded.contiguous().t()


def linear(
    values: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, powers: bool
) -> torch.Tensor:
    """Multiply tokens with a matrix of eight bits.

    Args:
        values: [tokens, columns].
        weight: [rows, columns].
        scale: From linear_scale.
        powers: Whether the tokens' factors are rounded up to powers of two.

    Returns:
        [tokens, rows] of the type of the values.
    """
    tokens = values.shape[0]
    if not tokens:
        return values.new_empty(0, weight.shape[0])
    numbers, factors = quantise(values.contiguous(), tokens + -tokens % _ALIGNED, powers)
    out: torch.Tensor = scaled_mm(
        numbers,
        weight.t(),
        factors,
        ScalingType.BlockWise1x128,
        scale,
        ScalingType.BlockWise128x128,
        output_dtype=values.dtype,
    )
    return out[:tokens]


@dataclass(frozen=True)
class Tiles:
    """Which tokens go through which expert, in tiles of tokens of one expert.

    Attributes:
        order: the pairs of token and expert, sorted by expert: [pairs].
        experts: the expert of each tile; as many as there are experts where a tile is not needed.
        first: the first pair of each tile, as sorted.
        end: the pair after the last one of its expert.
        height: pairs of a tile.
    """

    order: torch.Tensor
    experts: torch.Tensor
    first: torch.Tensor
    end: torch.Tensor
    height: int


def tiles(chosen: torch.Tensor, experts: int) -> Tiles:
    """Sort the pairs of token and expert, without waiting for the device.

    Args:
        chosen: The experts of each token: [tokens, k].
        experts: How many there are.
    """
    flat = chosen.flatten()
    height = _FEW if flat.numel() <= experts * _FEW else _MANY
    ordered, order = flat.sort(stable=True)
    every = torch.arange(experts + 1, device=flat.device, dtype=ordered.dtype)
    begins = torch.searchsorted(ordered, every)  # [experts + 1], the last one: all pairs
    count = (begins.diff() + height - 1) // height
    ends = count.cumsum(0)
    # So many are enough however the tokens are spread: each expert has at most one that is not full.
    number = torch.arange(
        triton.cdiv(flat.numel(), height) + min(experts, flat.numel()), device=flat.device
    )
    expert = torch.searchsorted(ends, number, right=True)
    known = expert.clamp(max=experts - 1)
    first = begins[known] + (number - (ends - count)[known]) * height
    return Tiles(order, expert, first, begins[known + 1], height)


@triton.jit
def _experts_kernel(
    numbers,
    factors,
    weight,
    scale,
    out,
    sources,
    experts,
    firsts,
    ends,
    count,
    rows,
    columns,
    factor_token_stride,
    factor_group_stride,
    HEIGHT: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """One tile of pairs times one block of 128 rows of their expert's matrix."""
    expert = tl.load(experts + tl.program_id(1)).to(tl.int64)
    if expert >= count:
        return
    block = tl.program_id(0)
    pair = tl.load(firsts + tl.program_id(1)) + tl.arange(0, HEIGHT)
    there = pair < tl.load(ends + tl.program_id(1))
    token = tl.load(sources + pair, mask=there, other=0).to(tl.int64)
    row = block * BLOCK + tl.arange(0, BLOCK)
    within = row < rows
    column = tl.arange(0, BLOCK)
    groups = columns // BLOCK
    blocks = (rows + BLOCK - 1) // BLOCK
    left = numbers + token[:, None] * columns + column[None, :]
    right = weight + (expert * rows + row)[None, :] * columns + column[:, None]
    scales = scale + (expert * blocks + block) * groups
    total = tl.zeros((HEIGHT, BLOCK), dtype=tl.float32)
    for group in range(groups):
        a = tl.load(left + group * BLOCK, mask=there[:, None], other=0.0)
        b = tl.load(right + group * BLOCK, mask=within[None, :], other=0.0)
        factor = tl.load(
            factors + token * factor_token_stride + group * factor_group_stride,
            mask=there,
            other=0.0,
        )
        total += tl.dot(a, b) * (factor * tl.load(scales + group))[:, None]
    places = out + pair[:, None].to(tl.int64) * rows + row[None, :]
    tl.store(places, total.to(out.dtype.element_ty), mask=there[:, None] & within[None, :])


def multiply_experts(
    values: torch.Tensor,
    sources: torch.Tensor,
    plan: Tiles,
    weight: torch.Tensor,
    scale: torch.Tensor,
    powers: bool,
) -> torch.Tensor:
    """Multiply each pair's token with the matrix of its expert.

    Args:
        values: [tokens, columns].
        sources: The row of `values` of each pair, as sorted: [pairs].
        plan: From tiles.
        weight: [experts, rows, columns].
        scale: [experts, blocks of rows, columns / 128].
        powers: Whether the tokens' factors are rounded up to powers of two.

    Returns:
        [pairs, rows], as sorted, of the type of the values.
    """
    experts, rows, columns = weight.shape
    numbers, factors = quantise(values.contiguous(), values.shape[0], powers)
    out = values.new_empty(len(sources), rows)
    if len(sources):
        _experts_kernel[(triton.cdiv(rows, BLOCK), len(plan.experts))](
            numbers,
            factors,
            weight,
            scale,
            out,
            sources,
            plan.experts,
            plan.first,
            plan.end,
            experts,
            rows,
            columns,
            factors.stride(0),
            factors.stride(1),
            HEIGHT=plan.height,
            BLOCK=BLOCK,
            num_warps=4,
            num_stages=3,
        )
    return out
