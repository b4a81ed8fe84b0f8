"""Mixture-of-experts kernels: three matrix products for each row with its expert's weights.

One kernel reads the rows in place, multiplies with gate and up at once and applies the gate while
the numbers are still in registers; a second one multiplies with down.

torch's grouped product, which transformers uses, reads weights at 2.9 of an H200's 4.8 TB/s in
decoding, and needs separate passes to sort, gather and scatter the rows.
"""

import torch
import triton
import triton.language as tl

from deepseek_server.kernels.triton.rows import AVERAGES, GROUP, rows, tile

# Columns of a block: an expert's matrices consist of whole blocks.
COLUMNS_HIDDEN, COLUMNS_INNER = 128, 64


def mixture(
    hidden: torch.Tensor,
    chosen: torch.Tensor,
    shares: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
) -> torch.Tensor:
    """Return the sum of the outputs of each token's experts, weighted by their shares.

    Args:
        hidden: [tokens, hidden].
        chosen: the experts of each token: [tokens, k].
        shares: [tokens, k].
        gate_up: [experts, 2 * intermediate, hidden], gates first.
        down: [experts, hidden, intermediate].

    Returns:
        [tokens, hidden].
    """
    count, size, width = down.shape
    tokens, k = chosen.shape
    listed = rows(chosen, count)
    block, number = listed.block, listed.number
    gated = hidden.new_empty(number, width)
    wide = 128 if block >= 64 and width % 128 == 0 else COLUMNS_INNER
    _gate_up[(listed.tiles * (width // wide),)](
        hidden, gate_up, gated, listed.order, listed.counts, number, k, size, width, count,
        EXPERTS=listed.padded, ROWS=block, COLUMNS=wide, DEPTH=64, GROUP=GROUP,
        num_warps=8 if block >= 64 else 4, num_stages=3 if block >= 64 else 4,
    )  # fmt: skip
    spread = hidden.new_empty(number, size)
    _down[(listed.tiles * (size // COLUMNS_HIDDEN),)](
        gated, down, shares.reshape(-1), spread, listed.order, listed.counts, number, width, size,
        count,
        EXPERTS=listed.padded, ROWS=block, COLUMNS=COLUMNS_HIDDEN, DEPTH=64, GROUP=GROUP,
        num_warps=8 if block >= 128 else 4, num_stages=4,
    )  # fmt: skip
    return spread.view(tokens, k, -1).sum(dim=1)


def warm(gate_up: torch.Tensor, down: torch.Tensor) -> None:
    """Launch every kernel that such experts may need, so that no request waits for one.

    Args:
        gate_up: [experts, 2 * intermediate, hidden].
        down: [experts, hidden, intermediate].
    """
    for average in AVERAGES:
        chosen = torch.arange(average * len(down), device=down.device).remainder(len(down))[:, None]
        hidden = down.new_zeros(len(chosen), down.shape[1])
        mixture(hidden, chosen, chosen.float(), gate_up, down)


@triton.jit(do_not_specialize=["rows", "k", "count"])
def _gate_up(
    hidden,
    weights,
    gated,
    order,
    counts,
    rows,
    k,
    depth,
    width,
    count,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Compute silu(x gate) * (x up) for one block."""
    columns = width // COLUMNS
    block, column, expert, inside = tile(counts, count, columns, EXPERTS, ROWS, GROUP)
    if not inside:
        return
    row = tl.load(order + block * ROWS + tl.arange(0, ROWS))
    there = row < rows
    at = tl.arange(0, DEPTH)
    column_of = column * COLUMNS + tl.arange(0, COLUMNS)
    left = hidden + (row // k).to(tl.int64)[:, None] * depth + at[None, :]
    gate = weights + expert * 2 * width * depth + column_of[None, :] * depth + at[:, None]
    up = gate + width * depth
    sum_gate = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    sum_up = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for _ in range(0, depth, DEPTH):
        x = tl.load(left, mask=there[:, None], other=0.0)
        sum_gate = tl.dot(x, tl.load(gate), sum_gate)
        sum_up = tl.dot(x, tl.load(up), sum_up)
        left += DEPTH
        gate += DEPTH
        up += DEPTH
    result = sum_gate * tl.sigmoid(sum_gate) * sum_up
    target = gated + row.to(tl.int64)[:, None] * width + column_of[None, :]
    tl.store(target, result.to(gated.dtype.element_ty), mask=there[:, None])


@triton.jit(do_not_specialize=["rows", "count"])
def _down(
    gated,
    weights,
    shares,
    spread,
    order,
    counts,
    rows,
    depth,
    width,
    count,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Compute (x down) * share for one block."""
    columns = width // COLUMNS
    block, column, expert, inside = tile(counts, count, columns, EXPERTS, ROWS, GROUP)
    if not inside:
        return
    row = tl.load(order + block * ROWS + tl.arange(0, ROWS))
    there = row < rows
    at = tl.arange(0, DEPTH)
    column_of = column * COLUMNS + tl.arange(0, COLUMNS)
    left = gated + row.to(tl.int64)[:, None] * depth + at[None, :]
    right = weights + expert * width * depth + column_of[None, :] * depth + at[:, None]
    result = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for _ in range(0, depth, DEPTH):
        x = tl.load(left, mask=there[:, None], other=0.0)
        result = tl.dot(x, tl.load(right), result)
        left += DEPTH
        right += DEPTH
    result *= tl.load(shares + row, mask=there, other=0.0)[:, None]
    target = spread + row.to(tl.int64)[:, None] * width + column_of[None, :]
    tl.store(target, result.to(spread.dtype.element_ty), mask=there[:, None])
