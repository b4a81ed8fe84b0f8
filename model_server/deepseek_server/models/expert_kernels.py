"""The kernels of models.experts, in Triton.

Capital names are known when a kernel is compiled. Arrays lie in memory row by row without gaps.
Triton compiles a kernel again for numbers that 16 divides, which is of no use for numbers of rows.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def rank(experts, ranks, counts, rows, SIZE: tl.constexpr):
    """Count each expert's rows, and give each row a number among those of its expert."""
    row = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = row < rows
    expert = tl.load(experts + row, mask=there, other=0)
    rank = tl.atomic_add(counts + expert, 1, mask=there)
    tl.store(ranks + row, rank, mask=there)


@triton.jit(do_not_specialize=["rows"])
def place(
    experts,
    ranks,
    counts,
    order,
    rows,
    count,
    EXPERTS: tl.constexpr,
    ROWS: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Put each row where its expert's blocks begin, plus its number."""
    row = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = row < rows
    expert = tl.load(experts + row, mask=there, other=0)
    every = tl.arange(0, EXPERTS)
    tiles = tl.cdiv(tl.load(counts + every, mask=every < count, other=0), ROWS)
    before = tl.sum(tl.where(every[None, :] < expert[:, None], tiles[None, :], 0), 1)
    place = before * ROWS + tl.load(ranks + row, mask=there, other=0)
    tl.store(order + place, row, mask=there)


@triton.jit
def _tile(counts, count, columns, EXPERTS: tl.constexpr, ROWS: tl.constexpr, GROUP: tl.constexpr):
    """Which block of rows and columns a program has, and whose weights it multiplies with.

    Programs that run at the same time share weights: neighbours have the same columns and
    neighbouring rows, GROUP blocks of them.
    """
    every = tl.arange(0, EXPERTS)
    tiles = tl.cdiv(tl.load(counts + every, mask=every < count, other=0), ROWS)
    total = tl.sum(tiles, 0)
    program = tl.program_id(0)
    group = program // (GROUP * columns)
    height = tl.minimum(tl.maximum(total - group * GROUP, 1), GROUP)
    tile = group * GROUP + (program % (GROUP * columns)) % height
    column = (program % (GROUP * columns)) // height
    ends = tl.cumsum(tiles, 0)
    expert = tl.sum((ends <= tile).to(tl.int32), 0)
    inside = (tile < total) & (column < columns)
    return tile, column, expert.to(tl.int64), inside


@triton.jit(do_not_specialize=["rows", "k"])
def gate_up(
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
    """silu(x gate) * (x up) for one block."""
    columns = width // COLUMNS
    tile, column, expert, inside = _tile(counts, count, columns, EXPERTS, ROWS, GROUP)
    if not inside:
        return
    row = tl.load(order + tile * ROWS + tl.arange(0, ROWS))
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


@triton.jit(do_not_specialize=["rows"])
def down(
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
    """(x down) * share for one block."""
    columns = width // COLUMNS
    tile, column, expert, inside = _tile(counts, count, columns, EXPERTS, ROWS, GROUP)
    if not inside:
        return
    row = tl.load(order + tile * ROWS + tl.arange(0, ROWS))
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
