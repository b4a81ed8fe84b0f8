"""The experts of a mixture on a GPU: three matrix products for each token, each by other weights.

A token goes to a few of many experts. Rows of tokens are listed expert by expert, the list of each
padded to whole blocks, and one kernel works through all blocks of all experts: it fetches the rows
where they are, multiplies with gate and up at once and applies the gate while the numbers are still
in registers. A second kernel multiplies with down. Nothing depends on how many tokens an expert
got until the device knows, so all of it can be recorded as a graph.

torch's grouped product, which transformers uses, reads weights at 2.9 of an H200's 4.8 TB/s in
decoding, and needs the rows sorted, gathered and scattered by passes of their own.
"""

import torch
import triton
import triton.language as tl
from transformers.integrations.moe import ExpertsInterface

NAME = "fused_experts"
# Rows of a block, by how many rows an expert has on average.
_BLOCKS = ((16, 16), (48, 32), (128, 64))
_LARGEST_BLOCK = 128


def register() -> str:
    """Make the experts known to transformers; returns the name of the implementation."""
    ExpertsInterface.register(NAME, _forward)
    return NAME


def suitable(hidden: int, intermediate: int) -> bool:
    """Whether the kernels' tiles divide an expert's matrices."""
    return hidden % 128 == 0 and intermediate % 64 == 0


def _forward(
    self: torch.nn.Module,
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    return mixture(hidden_states, top_k_index, top_k_weights, self.gate_up_proj, self.down_proj)


def mixture(
    hidden: torch.Tensor,
    experts: torch.Tensor,
    shares: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
) -> torch.Tensor:
    """The sum of a token's experts, each with its share.

    Args:
        hidden: [tokens, hidden].
        experts: which ones each token goes to: [tokens, k].
        shares: [tokens, k].
        gate_up: [experts, 2 * intermediate, hidden], gates first.
        down: [experts, hidden, intermediate].

    Returns:
        [tokens, hidden].
    """
    count, width = down.shape[0], down.shape[2]
    tokens, k = experts.shape
    rows = tokens * k
    block = next((size for most, size in _BLOCKS if rows <= most * count), _LARGEST_BLOCK)
    order, counts = _order(experts.reshape(-1), count, block)
    tiles = len(order) // block
    padded = triton.next_power_of_2(count)

    gated = hidden.new_empty(rows, width)
    wide = 128 if block >= 64 and width % 128 == 0 else 64
    _gate_up[(tiles * (width // wide),)](
        hidden, gate_up, gated, order, counts, rows, k, hidden.shape[1], width, count,
        EXPERTS=padded, ROWS=block, COLUMNS=wide, DEPTH=64, GROUP=8,
        num_warps=8 if block >= 64 else 4, num_stages=3 if block >= 64 else 4,
    )  # fmt: skip
    spread = hidden.new_empty(rows, hidden.shape[1])
    _down[(tiles * (hidden.shape[1] // 128),)](
        gated, down, shares.reshape(-1), spread, order, counts, rows, width, hidden.shape[1], count,
        EXPERTS=padded, ROWS=block, COLUMNS=128, DEPTH=64, GROUP=8,
        num_warps=8 if block >= 128 else 4, num_stages=4,
    )  # fmt: skip
    return spread.view(tokens, k, -1).sum(dim=1)


def _order(experts: torch.Tensor, count: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows expert by expert.

    Returns:
        Numbers of rows, each expert's padded to whole blocks with a number that is no row's, and
        how many rows each expert has: [experts].
    """
    rows = len(experts)
    # Every expert that has rows at all may leave one block unfilled.
    tiles = min(rows // block + count, rows)
    counts = torch.zeros(count, dtype=torch.int32, device=experts.device)
    ranks = torch.empty(rows, dtype=torch.int32, device=experts.device)
    order = torch.full((tiles * block,), rows, dtype=torch.int32, device=experts.device)
    size = 128
    grid = (triton.cdiv(rows, size),)
    _rank[grid](experts, ranks, counts, rows, SIZE=size)
    _place[grid](
        experts, ranks, counts, order, rows, count,
        EXPERTS=triton.next_power_of_2(count), ROWS=block, SIZE=size,
    )  # fmt: skip
    return order, counts


@triton.jit
def _rank(experts, ranks, counts, rows, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
    """Count each expert's rows, and give each row a number among those of its expert."""
    row = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = row < rows
    expert = tl.load(experts + row, mask=there, other=0)
    rank = tl.atomic_add(counts + expert, 1, mask=there)
    tl.store(ranks + row, rank, mask=there)


@triton.jit
def _place(  # type: ignore[no-untyped-def]
    experts, ranks, counts, order, rows, count,
    EXPERTS: tl.constexpr, ROWS: tl.constexpr, SIZE: tl.constexpr,  # noqa: N803
):  # fmt: skip
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
def _tile(counts, count, columns, EXPERTS: tl.constexpr, ROWS: tl.constexpr, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
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


@triton.jit
def _gate_up(  # type: ignore[no-untyped-def]
    hidden, weights, gated, order, counts, rows, k, depth, width, count,
    EXPERTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,  # noqa: N803
    GROUP: tl.constexpr,  # noqa: N803
):  # fmt: skip
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


@triton.jit
def _down(  # type: ignore[no-untyped-def]
    gated, weights, shares, spread, order, counts, rows, depth, width, count,
    EXPERTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,  # noqa: N803
    GROUP: tl.constexpr,  # noqa: N803
):  # fmt: skip
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
