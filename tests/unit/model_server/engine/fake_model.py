"""A model whose next token depends on every token before it, read from its paged cache.

Its cache holds the tokens themselves. So a block that is shared wrongly, written while shared,
given away too early or missing changes the answer.
"""

import zlib
from collections.abc import Callable, Sequence

import torch

from deepseek_server.engine.runner import Chunk

VOCABULARY = 50


def next_token(context: Sequence[int]) -> int:
    return zlib.crc32(bytes(context)) % VOCABULARY


def answer(prompt: Sequence[int], count: int) -> list[int]:
    """Return the model's answer to a single request."""
    context = list(prompt)
    for _ in range(count):
        context.append(next_token(context))
    return context[len(prompt) :]


class FakeModel:
    """Implements engine.runner.Runner.

    Attributes:
        before: called before each step, to wait or to fail.
        steps: the chunks of each step so far.
    """

    shares_prefixes = True

    def __init__(
        self, num_blocks: int, block_size: int, *, overlap_scheduling: bool = False
    ) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self.overlap_scheduling = overlap_scheduling
        self.before: Callable[[], None] = lambda: None
        self.steps: list[list[Chunk]] = []
        self._cache: dict[int, int] = {}
        self._sampled_tokens: dict[int, int] = {}
        self._sampled: list[int] = []

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        self.before()
        self.steps.append(list(chunks))
        sampled = self.tokens(chunks)
        logits = torch.zeros(len(sampled), VOCABULARY)
        logits[range(len(sampled)), sampled] = 100.0
        return logits

    def store_sampled_tokens(self, tokens: torch.Tensor) -> None:
        self._sampled_tokens.update(zip(self._sampled, tokens.tolist(), strict=True))

    def tokens(self, chunks: Sequence[Chunk]) -> list[int]:
        """Return the next token of each chunk that samples."""
        assert len({chunk.request_index for chunk in chunks}) == len(chunks)
        self._sampled = [chunk.request_index for chunk in chunks if chunk.sample]
        for chunk in chunks:
            tokens = (
                (self._sampled_tokens[chunk.request_index],)
                if chunk.tokens is None
                else chunk.tokens
            )
            for position, token in enumerate(tokens, start=chunk.start):
                self._cache[self._slot(chunk, position)] = token
        return [
            next_token([self._cache[self._slot(chunk, at)] for at in range(chunk.end)])
            for chunk in chunks
            if chunk.sample
        ]

    def _slot(self, chunk: Chunk, position: int) -> int:
        return chunk.blocks[position // self.block_size] * self.block_size + (
            position % self.block_size
        )
