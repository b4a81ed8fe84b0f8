"""A request as the scheduler sees it: tokens, how many of them are computed, and where.

The tokens are the prompt's and the answer's in one list. What is not computed yet is pending: a
whole prompt at first, one token per step later, and everything again after a preemption.
"""

from deepseek_server.engine.blocks import block_key
from deepseek_server.engine.interface import Request
from deepseek_server.engine.step import Chunk


class Sequence:
    """The state of a request between two steps.

    Attributes:
        request: what was asked.
        tokens: the prompt and the answer so far.
        computed: tokens whose keys and values are in the cache.
        blocks: the blocks of the cache that it holds, in order.
        cached: tokens of the prompt that were found in the cache; None before the first step.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens = list(request.prompt)
        self.computed = 0
        self.blocks: tuple[int, ...] = ()  # a tuple, so that every step can be given the same one
        self.cached: int | None = None
        self._keys: list[bytes] = []

    @property
    def pending(self) -> int:
        """Tokens that are to be computed before the next one can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.request.prompt)

    def chunk(self, count: int) -> Chunk:
        """The next so many tokens to compute."""
        end = self.computed + count
        return Chunk(
            tokens=tuple(self.tokens[self.computed : end]),
            start=self.computed,
            blocks=self.blocks,
            sample=end == len(self.tokens),
        )

    def keys(self, count: int, block_size: int) -> list[bytes]:
        """The keys of the first so many full blocks."""
        for number in range(len(self._keys), count):
            before = self._keys[-1] if self._keys else b""
            tokens = self.tokens[number * block_size : (number + 1) * block_size]
            self._keys.append(block_key(before, tokens))
        return self._keys[:count]

    def key(self, number: int, block_size: int) -> bytes:
        """The key of one full block."""
        if number >= len(self._keys):
            self.keys(number + 1, block_size)
        return self._keys[number]
