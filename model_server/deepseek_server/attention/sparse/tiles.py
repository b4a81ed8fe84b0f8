"""Split of a step into tiles: queries that are scored together, within a memory budget.

The number of scores is a step's tokens times the context before each of them, too many for memory
with long prompts. So chunks are split into pieces of a few queries of one sequence, which share its
keys, and pieces of similar size and context share a tile. Tiles are padded to rectangles: a power
of two of queries, and the blocks of the longest context. The decode tokens of all sequences of
similar length are one tile. Everything is computed on the CPU, without tensors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from deepseek_server.engine.runner import Chunk

Int64 = npt.NDArray[np.int64]

# Maximum queries of a piece: times the indexer's heads, enough for efficient matrix products.
QUERIES = 64


@dataclass(frozen=True)
class Budget:
    """Memory for the scores of a tile.

    Attributes:
        total: Bytes for a tile; a single query may take more.
        key: Bytes for each key of a piece.
        score: Bytes for each pair of a query and a key.
    """

    total: int
    key: int
    score: int

    def allows(self, pieces: int, queries: int, keys: int) -> bool:
        """Return whether a tile of `pieces`, each with `queries` and `keys`, fits."""
        return pieces * keys * (self.key + queries * self.score) <= self.total

    def queries(self, keys: int) -> int:
        """Return the number of queries of a piece with `keys` keys: a power of two."""
        queries = QUERIES
        while queries > 1 and not self.allows(1, queries, keys):
            queries //= 2
        return queries


@dataclass(frozen=True)
class Tile:
    """Pieces that are scored together.

    Attributes:
        rows: Row in the step of each query; the last query of a piece repeats up to the padded
            size: [pieces, queries].
        positions: Position of each query in its sequence: [pieces, queries].
        blocks: Cache blocks of each piece up to its last query, padded with the spare block:
            [pieces, blocks].
    """

    rows: Int64
    positions: Int64
    blocks: Int64


@dataclass(frozen=True)
class _Piece:
    """Consecutive queries of one sequence.

    Attributes:
        row: Row in the step of the first query.
        position: Position of the first query in its sequence.
        count: Number of queries.
        blocks: Cache blocks up to the last query.
    """

    row: int
    position: int
    count: int
    blocks: Int64

    @property
    def padded(self) -> int:
        return 1 << (self.count - 1).bit_length()


def tiles(chunks: Sequence[Chunk], block_size: int, budget: Budget, spare: int) -> list[Tile]:
    """Return the tiles of a step.

    Args:
        chunks: In the order of their rows.
        block_size: Tokens of a block.
        budget: Memory for a tile.
        spare: The block for padding, where a piece has fewer blocks than its tile.
    """
    begins = accumulate((len(chunk) for chunk in chunks), initial=0)
    pieces = [
        piece
        for chunk, begin in zip(chunks, begins, strict=False)
        for piece in _pieces(chunk, begin, block_size, budget)
    ]
    pieces.sort(key=lambda piece: (piece.padded, len(piece.blocks)))
    groups: list[list[_Piece]] = []
    for piece in pieces:
        if groups and _joins(groups[-1], piece, block_size, budget):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [_tile(group, spare) for group in groups]


def _pieces(chunk: Chunk, begin: int, block_size: int, budget: Budget) -> Iterator[_Piece]:
    count = len(chunk)
    most = 1 if count == 1 else budget.queries(-(-chunk.end // block_size) * block_size)
    number = -(-count // most)
    blocks = np.array(chunk.blocks[: -(-chunk.end // block_size)], np.int64)
    cuts = [count * part // number for part in range(number + 1)]
    for first, last in pairwise(cuts):
        visible = -(-(chunk.start + last) // block_size)
        yield _Piece(begin + first, chunk.start + first, last - first, blocks[:visible])


def _joins(group: Sequence[_Piece], piece: _Piece, block_size: int, budget: Budget) -> bool:
    """Return whether a piece, no smaller than those of a group, fits it without much padding."""
    blocks = len(piece.blocks)
    return (
        piece.padded == group[0].padded
        and blocks <= 2 * len(group[0].blocks)
        and budget.allows(len(group) + 1, piece.padded, blocks * block_size)
    )


def _tile(group: Sequence[_Piece], spare: int) -> Tile:
    blocks = np.full((len(group), len(group[-1].blocks)), spare, np.int64)
    for line, piece in zip(blocks, group, strict=True):
        line[: len(piece.blocks)] = piece.blocks
    first = np.array([[piece.row, piece.position, piece.count] for piece in group], np.int64)
    steps = np.minimum(np.arange(group[0].padded), first[:, 2:] - 1)
    return Tile(first[:, :1] + steps, first[:, 1:2] + steps, blocks)
