"""One step of the engine: what the scheduler hands to a model, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Chunk:
    """The part of one sequence that a step computes.

    Attributes:
        tokens: Token ids to compute, one in decode, more in prefill.
        start: Position of the first of them: so many tokens have their cache already.
        blocks: The sequence's cache blocks in order, enough for `start + len(tokens)` tokens.
        sample: Whether the logits after the last token are wanted.
    """

    tokens: tuple[int, ...]
    start: int
    blocks: tuple[int, ...]
    sample: bool


class Runner(Protocol):
    """A model with a paged cache."""

    @property
    def block_size(self) -> int:
        """Tokens of one cache block."""

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""

    @property
    def device(self) -> torch.device:
        """Where the logits are."""

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step and write its keys and values into the cache.

        Returns:
            Logits after the last token of each chunk that samples, in their order: [n, vocabulary].
        """
