"""Grouping of tokens' rows by expert, in whole blocks, without synchronization with the device.

A token is routed to k of many experts, so it becomes k rows: row r belongs to token r // k. The
rows of each expert are listed one after the other and padded to whole blocks, so that one kernel
can process all blocks of all experts. The number of rows per expert stays on the device, so
everything can be captured in a CUDA graph.

In the kernels, upper-case names are compile-time constants, and arrays are contiguous in row-major
order. Triton specializes kernels for integers that are divisible by 16, which is useless for
numbers of rows.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

# Pairs of the maximum average number of rows per expert and the rows of a block.
_BLOCKS = ((16, 16), (48, 32), (128, 64))
_LARGEST_BLOCK = 128
# Averages that together need every block size.
AVERAGES = (*(most for most, _ in _BLOCKS), _LARGEST_BLOCK + 1)
# Neighbouring blocks of rows of one expert that share the weights of their columns.
GROUP = 8


@dataclass(frozen=True)
class Rows:
    """The rows of some tokens.

    Attributes:
        order: row indices by expert, each expert's padded to whole blocks with an index that is
            out of range: [tiles * block].
        counts: number of rows of each expert: [experts].
        number: total number of rows.
        block: rows per block.
    """

    order: torch.Tensor
    counts: torch.Tensor
    number: int
    block: int

    @property
    def tiles(self) -> int:
        """Maximum number of blocks of rows."""
        return len(self.order) // self.block

    @property
    def experts(self) -> int:
        """Number of experts."""
        return len(self.counts)

    @property
    def padded(self) -> int:
        """Number of experts, rounded up to a power of two for Triton."""
        return int(triton.next_power_of_2(self.experts))


def rows(chosen: torch.Tensor, experts: int) -> Rows:
    """Group rows by expert.

    Args:
        chosen: the experts of each token: [tokens, k].
        experts: number of experts.
    """
    flat = chosen.reshape(-1)
    number = len(flat)
    block = next((size for most, size in _BLOCKS if number <= most * experts), _LARGEST_BLOCK)
    # Every expert with rows may leave one block incomplete.
    tiles = min(number // block + experts, number)
    counts = torch.zeros(experts, dtype=torch.int32, device=flat.device)
    ranks = torch.empty(number, dtype=torch.int32, device=flat.device)
    order = torch.full((tiles * block,), number, dtype=torch.int32, device=flat.device)
    listed = Rows(order, counts, number, block)
    size = 128
    grid = (triton.cdiv(number, size),)
    _rank[grid](flat, ranks, counts, number, SIZE=size)
    _place[grid](
        flat, ranks, counts, order, number, experts,
        EXPERTS=listed.padded, ROWS=block, SIZE=size,
    )  # fmt: skip
    return listed


@triton.jit(do_not_specialize=["rows"])
def _rank(experts, ranks, counts, rows, SIZE: tl.constexpr):
    """Count each expert's rows, and assign each row an index among those of its expert."""
    row = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = row < rows
    expert = tl.load(experts + row, mask=there, other=0)
    rank = tl.atomic_add(counts + expert, 1, mask=there)
    tl.store(ranks + row, rank, mask=there)


@triton.jit(do_not_specialize=["rows", "count"])
def _place(
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
    """Write each row at the start of its expert's blocks plus its index."""
    row = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = row < rows
    expert = tl.load(experts + row, mask=there, other=0)
    every = tl.arange(0, EXPERTS)
    tiles = tl.cdiv(tl.load(counts + every, mask=every < count, other=0), ROWS)
    before = tl.sum(tl.where(every[None, :] < expert[:, None], tiles[None, :], 0), 1)
    place = before * ROWS + tl.load(ranks + row, mask=there, other=0)
    tl.store(order + place, row, mask=there)


@triton.jit
def tile(counts, count, columns, EXPERTS: tl.constexpr, ROWS: tl.constexpr, GROUP: tl.constexpr):
    """Return a program's block of rows, block of columns and expert, and whether it has work.

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
