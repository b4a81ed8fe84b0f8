"""The chunks of a step as arrays: one row of tokens, and where attention finds what.

Everything that a step brings to the device is computed here, on the CPU and without it, and put
into two arrays, so that it travels in two copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from deepseek_server.engine.runner import Chunk

Int64 = npt.NDArray[np.int64]

# A token that the CPU does not know: it is the one that an earlier step chose for the slot.
FOLLOWING = -1


@dataclass(frozen=True)
class StepInputs:
    """A step as arrays.

    Attributes:
        chunks: in the order of the row: those of a single token first.
        singles: how many chunks have a single token.
        tokens: token ids, FOLLOWING where they are not known: [tokens].
        slots: the sequence's slot for every token: [tokens].
        positions: the token's position in its sequence: [tokens].
        places: the token's place in the cache, counted in tokens: [tokens].
        sampled: the place in the row of each token after which logits are wanted, in the order in
            which the chunks were given: [n].
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
        """All that the model needs, in the order of the attributes."""
        return (
            self.tokens,
            self.slots,
            self.positions,
            self.places,
            self.sampled,
            self.sampled_slots,
        )


def step_inputs(chunks: Sequence[Chunk], block_size: int) -> StepInputs:
    """The arrays of a step.

    Args:
        chunks: what it computes.
        block_size: tokens of a block of the cache.
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
    # Position within the chunk, plus where the chunk starts.
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
