"""Rows of tokens expert by expert, in whole blocks, without waiting for the device.

A token goes to k of many experts, which makes k rows of it: row r is of token r // k. The rows of
each expert are listed one after the other and padded to whole blocks, so that one kernel can work
through all blocks of all experts. How many rows an expert got only the device knows, so all of it
can be recorded as a graph.

In the kernels, capital names are known when they are compiled, and arrays lie in memory row by row
without gaps. Triton compiles a kernel again for numbers that 16 divides, which is of no use for
numbers of rows.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

# Rows of a block, by how many rows an expert has on average.
_BLOCKS = ((16, 16), (48, 32), (128, 64))
_LARGEST_BLOCK = 128
# Averages that between them need every size of block.
AVERAGES = (*(most for most, _ in _BLOCKS), _LARGEST_BLOCK + 1)
# Blocks of rows that share the weights of their columns, where they are of one expert.
GROUP = 8


@dataclass(frozen=True)
class Rows:
    """The rows of some tokens.

    Attributes:
        order: numbers of rows, each expert's padded to whole blocks with a number that is no
            row's: [tiles * block].
        counts: how many rows each expert has: [experts].
        number: how many rows there are.
        block: rows of a block.
    """

    order: torch.Tensor
    counts: torch.Tensor
    number: int
    block: int

    @property
    def tiles(self) -> int:
        """Blocks of rows at most."""
        return len(self.order) // self.block

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return len(self.counts)

    @property
    def padded(self) -> int:
        """The experts' number as Triton wants to have it."""
        return int(triton.next_power_of_2(self.experts))


def rows(chosen: torch.Tensor, experts: int) -> Rows:
    """List rows expert by expert.

    Args:
        chosen: the experts of each token: [tokens, k].
        experts: how many there are.
    """
    flat = chosen.reshape(-1)
    number = len(flat)
    block = next((size for most, size in _BLOCKS if number <= most * experts), _LARGEST_BLOCK)
    # Every expert that has rows at all may leave one block unfilled.
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
    """Count each expert's rows, and give each row a number among those of its expert."""
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
def tile(counts, count, columns, EXPERTS: tl.constexpr, ROWS: tl.constexpr, GROUP: tl.constexpr):
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
