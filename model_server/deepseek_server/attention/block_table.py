"""Block tables of a step's sequences, in the form that FlashInfer's kernels take."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from deepseek_server.engine.runner import Chunk

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class BlockTable:
    """The blocks of several sequences in compressed sparse row form.

    Attributes:
        queries: start of each sequence's tokens in the batch, and the end: [n + 1].
        starts: start of each sequence's blocks in `blocks`, and the end: [n + 1].
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
    """Return the block table of chunks.

    Args:
        chunks: consecutive chunks of a step's batch.
        block_size: tokens per block.
        rows: minimum number of sequences; padding sequences have one token.
        spare: the block of the padding sequences.
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
