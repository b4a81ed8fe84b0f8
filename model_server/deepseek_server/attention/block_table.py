"""Where the sequences of a step are in the row and in the cache, as kernels want to know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from deepseek_server.engine.runner import Chunk

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class BlockTable:
    """The blocks of several sequences, one after the other (compressed sparse rows).

    Attributes:
        queries: where each sequence's tokens begin in the row, and the end: [n + 1].
        starts: where each sequence's blocks begin in `blocks`, and the end: [n + 1].
        blocks: the blocks of all sequences.
        lengths: tokens of each sequence up to the last one of the step: [n].
        last: tokens in each sequence's last block: [n].
    """

    queries: Int32
    starts: Int32
    blocks: Int32
    lengths: Int32
    last: Int32


def block_table(
    chunks: Sequence[Chunk], block_size: int, rows: int = 0, spare: int = 0
) -> BlockTable:
    """The blocks that chunks attend to.

    Args:
        chunks: some chunks of a step that follow each other in its row.
        block_size: tokens of a block.
        rows: as many sequences are told at least; those that are missing have one token.
        spare: the block of that token.
    """
    padding = max(rows - len(chunks), 0)
    ends = [chunk.end for chunk in chunks] + [1] * padding
    counts = [-(-end // block_size) for end in ends]
    listed = chain(
        chain.from_iterable(
            chunk.blocks if len(chunk.blocks) == count else chunk.blocks[:count]
            for chunk, count in zip(chunks, counts, strict=False)
        ),
        [spare] * padding,
    )
    lengths = np.array(ends, np.int32)
    queries = [0, *accumulate(len(chunk) for chunk in chunks)]
    queries += range(queries[-1] + 1, queries[-1] + padding + 1)
    return BlockTable(
        queries=np.array(queries, np.int32),
        starts=np.array([0, *accumulate(counts)], np.int32),
        blocks=np.fromiter(listed, np.int32, sum(counts)),
        lengths=lengths,
        last=(lengths - 1) % block_size + 1,
    )
