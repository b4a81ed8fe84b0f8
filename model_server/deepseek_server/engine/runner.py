"""One step of the engine: the interface between the scheduler and a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of one sequence that a step computes.

    Attributes:
        tokens: Token ids to compute, one in decode, more in prefill. None for the single token that
            an earlier step sampled for this request and that only the device has so far.
        start: Position of the first one, which is the number of tokens already in the KV cache.
        blocks: The sequence's block table, enough for `start` and these tokens.
        sample: Whether to return the logits after the last token.
        request_index: Number of the sequence among the running ones.
    """

    tokens: tuple[int, ...] | None
    start: int
    blocks: tuple[int, ...]
    sample: bool
    request_index: int = 0

    def __len__(self) -> int:
        """Return the number of tokens to compute."""
        return 1 if self.tokens is None else len(self.tokens)

    @property
    def end(self) -> int:
        """Number of tokens in the KV cache after the step."""
        return self.start + len(self)


class Runner(Protocol):
    """A model with a KV cache.

    Steps take effect in the order of the calls. On a GPU a call returns before the device has computed
    anything, and must not wait for the device.
    """

    @property
    def block_size(self) -> int:
        """Number of tokens per block."""

    @property
    def num_blocks(self) -> int:
        """Number of blocks of the KV cache."""

    @property
    def shares_prefixes(self) -> bool:
        """Whether sequences can share blocks of a common prefix."""

    @property
    def overlap_scheduling(self) -> bool:
        """Whether the device computes asynchronously, so that steps can overlap."""

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step and write its keys and values into the KV cache.

        Returns:
            Logits after the last token of each chunk that samples, in order: [n, vocabulary].
        """

    def store_sampled_tokens(self, tokens: torch.Tensor) -> None:
        """Store the tokens sampled after the last step, for chunks whose tokens are None.

        Args:
            tokens: One for each row of its logits, on the device: [n].
        """
