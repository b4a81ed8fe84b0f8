"""State of a request in the scheduler: its tokens, how many are computed, and its blocks.

One list has the tokens of the prompt and of the answer. Tokens that are not computed yet are pending:
the whole prompt at first, one token per step later, and all of them after a preemption. If a step is
launched before earlier ones have completed, the last tokens are not known yet: they are `ahead`, and
still count as pending or computed.
"""

from deepseek_server.engine.block_manager import block_key
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.types import Request


class Sequence:
    """The state of a request between two steps.

    Attributes:
        request: the request.
        tokens: the prompt and the known part of the answer.
        ahead: number of tokens that steps in flight will sample.
        computed: number of tokens in the KV cache, including those of steps in flight.
        published: number of its blocks that others may find in the prefix cache.
        blocks: its block table.
        slot: its number among the running sequences.
        cached: prompt tokens found in the prefix cache; None before the first step.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens = list(request.prompt)
        self.ahead = 0
        self.computed = 0
        self.published = 0
        self.blocks: tuple[int, ...] = ()  # a tuple, so that all steps can share it
        self.slot = -1
        self.cached: int | None = None
        self._keys: list[bytes] = []
        self._looks_back = request.sampling.looks_back
        self._longest = len(request.prompt) + request.sampling.max_tokens

    @property
    def length(self) -> int:
        """Number of tokens, including those ahead."""
        return len(self.tokens) + self.ahead

    @property
    def pending(self) -> int:
        """Number of tokens to compute before the next one can be sampled."""
        return len(self.tokens) + self.ahead - self.computed

    @property
    def generated(self) -> int:
        """Number of tokens of the answer, including those ahead."""
        return len(self.tokens) + self.ahead - len(self.request.prompt)

    @property
    def must_wait(self) -> bool:
        """Whether nothing can be computed before a step in flight has completed."""
        ahead = self.ahead
        return ahead > 0 and (self._looks_back or len(self.tokens) + ahead >= self._longest)

    def chunk(self, count: int) -> Chunk:
        """Return the next `count` tokens to compute, and count them as computed."""
        start = self.computed
        end = start + count
        known = len(self.tokens)
        tokens = None if start >= known else tuple(self.tokens[start:end])
        sample = end == known + self.ahead
        self.computed = end
        self.ahead += sample
        return Chunk(tokens, start, self.blocks, sample, self.slot)

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
