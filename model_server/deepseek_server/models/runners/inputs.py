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
# request.
UNRESOLVED = -1


@dataclass(frozen=True)
class StepInputs:
    """A step as arrays.

    Attributes:
        chunks: in the order of the batch: chunks of a single token (decode) first.
        num_decode_tokens: number of chunks of a single token.
        tokens: token ids, UNRESOLVED where the CPU does not know them: [tokens].
        request_indices: request index of each token's sequence: [tokens].
        positions: position of each token in its sequence: [tokens].
        slot_mapping: index of each token in the cache, counted in tokens: [tokens].
        sampled: index in the batch of each token whose logits are needed, in the order of the given
            chunks: [n].
        sampled_request_indices: their request indices: [n].
    """

    chunks: Sequence[Chunk]
    num_decode_tokens: int
    tokens: Int64
    request_indices: Int64
    positions: Int64
    slot_mapping: Int64
    sampled: Int64
    sampled_request_indices: Int64

    @property
    def arrays(self) -> tuple[Int64, ...]:
        """The arrays that the model needs, in the order of the attributes."""
        return (
            self.tokens,
            self.request_indices,
            self.positions,
            self.slot_mapping,
            self.sampled,
            self.sampled_request_indices,
        )


def step_inputs(chunks: Sequence[Chunk], block_size: int) -> StepInputs:
    """Return the arrays of a step.

    Args:
        chunks: the chunks of the step.
        block_size: tokens per cache block.
    """
    order = sorted(range(len(chunks)), key=lambda index: len(chunks[index]) > 1)
    batch = [chunks[index] for index in order]
    lengths = [len(chunk) for chunk in batch]
    num_decode_tokens = sum(length == 1 for length in lengths)
    ends = np.fromiter(accumulate(lengths), np.int64, len(batch))
    last_token_of = np.empty(len(batch), np.int64)
    last_token_of[order] = ends - 1
    wanted = [index for index, chunk in enumerate(chunks) if chunk.sample]

    counts = np.array(lengths, np.int64)
    starts = np.fromiter((chunk.start for chunk in batch), np.int64, len(batch))
    # Position within the chunk plus the start of the chunk.
    positions = np.arange(int(ends[-1])) + np.repeat(starts - (ends - counts), counts)
    return StepInputs(
        chunks=batch,
        num_decode_tokens=num_decode_tokens,
        tokens=np.fromiter(
            chain.from_iterable(
                (UNRESOLVED,) if chunk.tokens is None else chunk.tokens for chunk in batch
            ),
            np.int64,
            len(positions),
        ),
        request_indices=np.repeat(
            np.fromiter((chunk.request_index for chunk in batch), np.int64, len(batch)), counts
        ),
        positions=positions,
        slot_mapping=_slot_mapping(batch, num_decode_tokens, positions, block_size),
        sampled=last_token_of[wanted],
        sampled_request_indices=np.fromiter(
            (chunks[index].request_index for index in wanted), np.int64, len(wanted)
        ),
    )


def _slot_mapping(
    batch: Sequence[Chunk], num_decode_tokens: int, positions: Int64, block_size: int
) -> Int64:
    block_of = np.empty_like(positions)
    blocks = [chunk.blocks[chunk.start // block_size] for chunk in batch[:num_decode_tokens]]
    block_of[:num_decode_tokens] = blocks
    begin = num_decode_tokens
    for chunk in batch[num_decode_tokens:]:
        end = begin + len(chunk)
        first, last = chunk.start // block_size, (chunk.end - 1) // block_size
        blocks_of = np.array(chunk.blocks[first : last + 1], np.int64)
        block_of[begin:end] = blocks_of[positions[begin:end] // block_size - first]
        begin = end
    return block_of * block_size + positions % block_size
