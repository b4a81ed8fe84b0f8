"""State of a request in the scheduler: its tokens, how many are computed, and its blocks.

One list has the tokens of the prompt and of the answer. Tokens that are not computed yet are pending:
the whole prompt at first, one token per step later, and all of them after a preemption. If a step is
launched before earlier ones have completed, the last tokens are not known yet: they are unresolved,
and still count as pending or computed.
"""

from deepseek_server.engine.block_manager import block_key
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.types import Request


class Sequence:
    """The state of a request between two steps.

    Attributes:
        request: the request.
        tokens: the prompt and the known part of the answer.
        num_unresolved_tokens: number of tokens that steps in flight will sample.
        num_computed_tokens: number of tokens in the KV cache, including those of steps in flight.
        num_cached_blocks: number of its blocks that others may find in the prefix cache.
        blocks: its block table.
        request_index: its number among the running sequences.
        num_cached_tokens: prompt tokens found in the prefix cache; None before the first step.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens = list(request.prompt)
        self.num_unresolved_tokens = 0
        self.num_computed_tokens = 0
        self.num_cached_blocks = 0
        self.blocks: tuple[int, ...] = ()  # a tuple, so that all steps can share it
        self.request_index = -1
        self.num_cached_tokens: int | None = None
        self._keys: list[bytes] = []
        self._looks_back = request.sampling.looks_back
        self._longest = len(request.prompt) + request.sampling.max_tokens

    @property
    def length(self) -> int:
        """Number of tokens, including unresolved ones."""
        return len(self.tokens) + self.num_unresolved_tokens

    @property
    def pending(self) -> int:
        """Number of tokens to compute before the next one can be sampled."""
        return len(self.tokens) + self.num_unresolved_tokens - self.num_computed_tokens

    @property
    def generated(self) -> int:
        """Number of tokens of the answer, including unresolved ones."""
        return len(self.tokens) + self.num_unresolved_tokens - len(self.request.prompt)

    @property
    def must_wait(self) -> bool:
        """Whether nothing can be computed before a step in flight has completed."""
        if not self.num_unresolved_tokens:
            return False
        return self._looks_back or self.length >= self._longest

    def chunk(self, count: int) -> Chunk:
        """Return the next `count` tokens to compute, and count them as computed."""
        start = self.num_computed_tokens
        end = start + count
        known = len(self.tokens)
        tokens = None if start >= known else tuple(self.tokens[start:end])
        sample = end == known + self.num_unresolved_tokens
        self.num_computed_tokens = end
        self.num_unresolved_tokens += sample
        return Chunk(tokens, start, self.blocks, sample, self.request_index)

    def keys(self, count: int, block_size: int) -> list[bytes]:
        """Return the keys of the first `count` full blocks."""
        for number in range(len(self._keys), count):
            before = self._keys[-1] if self._keys else b""
            tokens = self.tokens[number * block_size : (number + 1) * block_size]
            self._keys.append(block_key(before, tokens))
        return self._keys[:count]

    def key(self, number: int, block_size: int) -> bytes:
        """Return the key of one full block."""
        if number >= len(self._keys):
            self.keys(number + 1, block_size)
        return self._keys[number]
