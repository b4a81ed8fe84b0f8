"""The chunks of a step as arrays: one packed batch of tokens, with positions and slot mapping.

Everything that a step brings to the device is computed here on the CPU and packed into two arrays,
so that it takes two copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from deepseek_server.engine.runner import Chunk

Int64 = npt.NDArray[np.int64]

# Placeholder of a token that only the device knows: the one that an earlier step sampled for the
# slot.
FOLLOWING = -1


@dataclass(frozen=True)
class StepInputs:
    """A step as arrays.

    Attributes:
        chunks: in the order of the batch: chunks of a single token (decode) first.
        singles: number of chunks of a single token.
        tokens: token ids, FOLLOWING where the CPU does not know them: [tokens].
        slots: slot of each token's sequence: [tokens].
        positions: position of each token in its sequence: [tokens].
        places: slot mapping, the index of each token in the cache, counted in tokens: [tokens].
        sampled: index in the batch of each token whose logits are needed, in the order of the given
            chunks: [n].
        sampled_slots: their slots: [n].
    """

    chunks: Sequence[Chunk]
    singles: int
    tokens: Int64
    slots: Int64
    positions: Int64
    places: Int64
    sampled: Int64
    sampled_slots: Int64

    @property
    def arrays(self) -> tuple[Int64, ...]:
        """The arrays that the model needs, in the order of the attributes."""
        return (
            self.tokens,
            self.slots,
            self.positions,
            self.places,
            self.sampled,
            self.sampled_slots,
        )


def step_inputs(chunks: Sequence[Chunk], block_size: int) -> StepInputs:
    """Return the arrays of a step.

    Args:
        chunks: the chunks of the step.
        block_size: tokens per cache block.
    """
    order = sorted(range(len(chunks)), key=lambda index: len(chunks[index]) > 1)
    row = [chunks[index] for index in order]
    lengths = [len(chunk) for chunk in row]
    singles = sum(length == 1 for length in lengths)
    ends = np.fromiter(accumulate(lengths), np.int64, len(row))
    place_of = np.empty(len(row), np.int64)
    place_of[order] = ends - 1
    wanted = [index for index, chunk in enumerate(chunks) if chunk.sample]

    counts = np.array(lengths, np.int64)
    starts = np.fromiter((chunk.start for chunk in row), np.int64, len(row))
    # Position within the chunk plus the start of the chunk.
    positions = np.arange(int(ends[-1])) + np.repeat(starts - (ends - counts), counts)
    return StepInputs(
        chunks=row,
        singles=singles,
        tokens=np.fromiter(
            chain.from_iterable(
                (FOLLOWING,) if chunk.tokens is None else chunk.tokens for chunk in row
            ),
            np.int64,
            len(positions),
        ),
        slots=np.repeat(np.fromiter((chunk.slot for chunk in row), np.int64, len(row)), counts),
        positions=positions,
        places=_places(row, singles, positions, block_size),
        sampled=place_of[wanted],
        sampled_slots=np.fromiter((chunks[index].slot for index in wanted), np.int64, len(wanted)),
    )


def _places(row: Sequence[Chunk], singles: int, positions: Int64, block_size: int) -> Int64:
    places = np.empty_like(positions)
    blocks = [chunk.blocks[chunk.start // block_size] for chunk in row[:singles]]
    places[:singles] = blocks
    begin = singles
    for chunk in row[singles:]:
        end = begin + len(chunk)
        first, last = chunk.start // block_size, (chunk.end - 1) // block_size
        blocks_of = np.array(chunk.blocks[first : last + 1], np.int64)
        places[begin:end] = blocks_of[positions[begin:end] // block_size - first]
        begin = end
    return places * block_size + positions % block_size
