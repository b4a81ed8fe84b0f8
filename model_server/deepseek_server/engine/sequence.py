"""A request as the scheduler sees it: tokens, how many of them are computed, and where.

The tokens are the prompt's and the answer's in one list. What is not computed yet is pending: a
whole prompt at first, one token per step later, and everything again after a preemption. Where
steps are launched before the ones before have come back, the last tokens are not known yet: they
are ahead, and count as pending or computed all the same.
"""

from deepseek_server.engine.block_manager import block_key
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.types import Request


class Sequence:
    """The state of a request between two steps.

    Attributes:
        request: what was asked.
        tokens: the prompt and the answer as far as it is known.
        ahead: tokens of the answer that launched steps will choose.
        computed: tokens whose keys and values are in the cache, or will be after launched steps.
        published: blocks, of those that it holds, that others may find.
        blocks: the blocks of the cache that it holds, in order.
        slot: its number among the sequences that run.
        cached: tokens of the prompt that were found in the cache; None before the first step.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens = list(request.prompt)
        self.ahead = 0
        self.computed = 0
        self.published = 0
        self.blocks: tuple[int, ...] = ()  # a tuple, so that every step can be given the same one
        self.slot = -1
        self.cached: int | None = None
        self._keys: list[bytes] = []
        self._looks_back = request.sampling.looks_back
        self._longest = len(request.prompt) + request.sampling.max_tokens

    @property
    def length(self) -> int:
        """Tokens, those ahead among them."""
        return len(self.tokens) + self.ahead

    @property
    def pending(self) -> int:
        """Tokens that are to be computed before the next one can be chosen."""
        return len(self.tokens) + self.ahead - self.computed

    @property
    def generated(self) -> int:
        """Tokens of the answer, those ahead among them."""
        return len(self.tokens) + self.ahead - len(self.request.prompt)

    @property
    def must_wait(self) -> bool:
        """Whether nothing can be computed before a launched step has come back."""
        ahead = self.ahead
        return ahead > 0 and (self._looks_back or len(self.tokens) + ahead >= self._longest)

    def chunk(self, count: int) -> Chunk:
        """The next so many tokens to compute, and from now on they count as such."""
        start = self.computed
        end = start + count
        known = len(self.tokens)
        tokens = None if start >= known else tuple(self.tokens[start:end])
        sample = end == known + self.ahead
        self.computed = end
        self.ahead += sample
        return Chunk(tokens, start, self.blocks, sample, self.slot)

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
