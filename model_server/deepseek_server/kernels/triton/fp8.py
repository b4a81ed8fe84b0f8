"""Products with block-scaled fp8 matrices; the reference is models/layers/fp8.py.

Single matrices are multiplied by cuBLAS, through torch: it supports scales of 1 x 128 and 128 x 128
blocks on GPUs of compute capability 9, from CUDA 12.9 on
(https://docs.nvidia.com/cuda/cublas/#scaling-factors-layouts). It has no equivalent for many
matrices at once, so the experts have their own kernel.
"""

import torch
import triton
import triton.language as tl
from torch.nn.functional import ScalingType, scaled_mm

from deepseek_server.kernels.triton.fp8_format import BLOCK, FP8, LARGEST
from deepseek_server.kernels.triton.rows import AVERAGES, GROUP, Rows, rows, tile

# Groups of 128 values that one program quantises.
_GROUPS = 16
# cuBLAS requires the rows of weight scales, and tokens, in multiples of this.
_ALIGNED = 4


@triton.jit(do_not_specialize=["tokens", "all_tokens", "row_groups"])
def _quantise(
    values,
    numbers,
    factors,
    tokens,
    all_tokens,
    row_groups,
    POWERS: tl.constexpr,
    LARGEST: tl.constexpr,
    GROUPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Quantise groups of values; groups beyond the tokens become zeros."""
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    token = group // row_groups
    places = group[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    value = tl.load(values + places, mask=(token < tokens)[:, None], other=0.0).to(tl.float32)
    factor = tl.maximum(tl.max(tl.abs(value), 1), 1e-10) / LARGEST
    if POWERS:
        factor = tl.exp2(tl.ceil(tl.log2(factor)))
    there = group < all_tokens * row_groups
    number = (value / factor[:, None]).to(numbers.dtype.element_ty)
    tl.store(numbers + places, number, mask=there[:, None])
    place = token + (group % row_groups) * all_tokens
    tl.store(factors + place, factor, mask=there)


def quantise(values: torch.Tensor, tokens: int, powers: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """See fp8.quantise.

    Args:
        values: [n, columns], contiguous.
        tokens: Number of rows of the result; rows beyond those of `values` are zero.
        powers: Whether the scales are rounded up to powers of two.

    Returns:
        [tokens, columns] and [tokens, columns / 128], the latter with the tokens contiguous in
        memory, as cuBLAS requires.
    """
    columns = values.shape[1]
    row_groups = columns // BLOCK
    numbers = torch.empty(tokens, columns, dtype=FP8, device=values.device)
    factors = torch.empty(row_groups, tokens, dtype=torch.float32, device=values.device).t()
    groups = tokens * row_groups
    if groups:
        _quantise[(triton.cdiv(groups, _GROUPS),)](
            values, numbers, factors, len(values), tokens, row_groups,
            POWERS=powers, LARGEST=LARGEST, GROUPS=_GROUPS, BLOCK=BLOCK,
        )  # fmt: skip
    return numbers, factors


def linear_scale(scale: torch.Tensor) -> torch.Tensor:
    """Return a weight's scales for `linear`: [columns / 128, a multiple of 4; rows / 128]."""
    columns = scale.shape[1]
    padded = torch.nn.functional.pad(scale, (0, -columns % _ALIGNED))
    return padded.contiguous().t()


def linear(
    values: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, powers: bool
) -> torch.Tensor:
    """Multiply tokens with an fp8 matrix.

    Args:
        values: [tokens, columns].
        weight: [rows, columns].
        scale: From linear_scale.
        powers: Whether the tokens' scales are rounded up to powers of two.

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


def multiply_experts(
    values: torch.Tensor,
    listed: Rows,
    k: int,
    weight: torch.Tensor,
    scale: torch.Tensor,
    powers: bool,
    shares: torch.Tensor | None = None,
) -> torch.Tensor:
    """Multiply each row with the matrix of its expert.

    Args:
        values: [rows / k, columns].
        listed: the rows expert by expert.
        k: number of rows that share the same values.
        weight: [experts, outputs, columns].
        scale: [experts, blocks of outputs, columns / 128].
        powers: Whether the values' scales are rounded up to powers of two.
        shares: Optional factor of each row of the result: as many numbers as rows.

    Returns:
        [rows, outputs], of the type of the values.
    """
    experts, outputs, columns = weight.shape
    numbers, factors = quantise(values.contiguous(), len(values), powers)
    out = values.new_empty(listed.number, outputs)
    if listed.number:
        _multiply[(listed.tiles * triton.cdiv(outputs, BLOCK),)](
            numbers, factors, weight, scale, out, factors if shares is None else shares.reshape(-1),
            listed.order, listed.counts,
            listed.number, k, len(values), outputs, columns, experts,
            EXPERTS=listed.padded, ROWS=listed.block, BLOCK=BLOCK, GROUP=GROUP,
            SHARED=shares is not None,
            num_warps=8 if listed.block >= 128 else 4, num_stages=3,
        )  # fmt: skip
    return out


def warm(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype, powers: bool) -> None:
    """Launch every kernel that such experts may need, so that no request waits for one.

    Args:
        weight: [experts, outputs, columns].
        scale: [experts, blocks of outputs, columns / 128].
        dtype: Type of the values.
        powers: Whether the values' scales are rounded up to powers of two.
    """
    experts, _, columns = weight.shape
    for average in AVERAGES:
        chosen = torch.arange(average * experts, device=weight.device).remainder(experts)[:, None]
        values = torch.zeros(len(chosen), columns, dtype=dtype, device=weight.device)
        listed = rows(chosen, experts)
        for shares in (None, chosen.float()):
            multiply_experts(values, listed, 1, weight, scale, powers, shares)


@triton.jit(do_not_specialize=["rows", "k", "tokens", "count"])
def _multiply(
    numbers,
    factors,
    weight,
    scale,
    out,
    shares,
    order,
    counts,
    rows,
    k,
    tokens,
    outputs,
    columns,
    count,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
    SHARED: tl.constexpr,
):
    """Multiply one block of rows with 128 rows of their expert's matrix."""
    blocks = tl.cdiv(outputs, BLOCK)
    tile_of, block, expert, inside = tile(counts, count, blocks, EXPERTS, ROWS, GROUP)
    if not inside:
        return
    row = tl.load(order + tile_of * ROWS + tl.arange(0, ROWS))
    there = row < rows
    token = (row // k).to(tl.int64)
    output = block * BLOCK + tl.arange(0, BLOCK)
    within = output < outputs
    column = tl.arange(0, BLOCK)
    groups = columns // BLOCK
    left = numbers + token[:, None] * columns + column[None, :]
    right = weight + (expert * outputs + output)[None, :] * columns + column[:, None]
    scales = scale + (expert * blocks + block) * groups
    total = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for group in range(groups):
        a = tl.load(left + group * BLOCK, mask=there[:, None], other=0.0)
        b = tl.load(right + group * BLOCK, mask=within[None, :], other=0.0)
        factor = tl.load(factors + token + group * tokens, mask=there, other=0.0)
        total += tl.dot(a, b) * (factor * tl.load(scales + group))[:, None]
    if SHARED:
        total *= tl.load(shares + row, mask=there, other=0.0)[:, None]
    places = out + row.to(tl.int64)[:, None] * outputs + output[None, :]
    tl.store(places, total.to(out.dtype.element_ty), mask=there[:, None] & within[None, :])
