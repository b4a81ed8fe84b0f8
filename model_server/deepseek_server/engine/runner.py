"""One step of the engine: what the scheduler hands to a model, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of one sequence that a step computes.

    Attributes:
        tokens: Token ids to compute, one in decode, more in prefill. None where it is the single
            token that an earlier step chose for this slot and that only the device knows yet.
        start: Position of the first of them: so many tokens have their cache already.
        blocks: The sequence's cache blocks in order, enough for `start` and these tokens.
        sample: Whether the logits after the last token are wanted.
        slot: Number of the sequence among those that run.
    """

    tokens: tuple[int, ...] | None
    start: int
    blocks: tuple[int, ...]
    sample: bool
    slot: int = 0

    def __len__(self) -> int:
        """How many tokens are computed."""
        return 1 if self.tokens is None else len(self.tokens)

    @property
    def end(self) -> int:
        """Tokens of the sequence that have their cache after the step."""
        return self.start + len(self)


class Runner(Protocol):
    """A model with a cache.

    Its steps take effect in the order of the calls. On a GPU a call returns before the device has
    computed anything, and nothing in it may wait for the device.
    """

    @property
    def block_size(self) -> int:
        """Tokens of one cache block."""

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""

    @property
    def shares_prefixes(self) -> bool:
        """Whether a block that one sequence has computed can serve another one."""

    @property
    def works_ahead(self) -> bool:
        """Whether the device computes while the caller goes on."""

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step and write its keys and values into the cache.

        Returns:
            Logits after the last token of each chunk that samples, in their order: [n, vocabulary].
        """

    def follow(self, tokens: torch.Tensor) -> None:
        """Remember what was chosen after the last step, for chunks that do not say their token.

        Args:
            tokens: one for each of the logits that it gave, on the device: [n].
        """
