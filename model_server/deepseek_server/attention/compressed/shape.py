"""The shape of DeepSeek-V4's attention, and what its layers cache per sequence and per token."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_server.attention.sparse.selection import Indexer

# The kinds of layers, by the names of transformers: a window only; with entries of few tokens, from
# which an indexer selects; with entries of many tokens.
WINDOW, SPARSE, HEAVY = (
    "sliding_attention",
    "compressed_sparse_attention",
    "heavily_compressed_attention",
)


@dataclass(frozen=True)
class CompressedShape:
    """The attention of a model.

    Attributes:
        kinds: The kind of each layer.
        heads: Query heads; they share one head of keys, which are also the values.
        dim: Values of a head.
        window: Tokens that a token attends to, including itself.
        rates: Tokens per entry, by kind of layer.
        indexer: The indexer that selects entries.
        scale: Factor of query times key before the softmax.
    """

    kinds: tuple[str, ...]
    heads: int
    dim: int
    window: int
    rates: Mapping[str, int]
    indexer: Indexer
    scale: float

    @property
    def stretch(self) -> int:
        """Smallest number of tokens that makes whole entries in all layers; divides block sizes."""
        return math.lcm(*(self.rates[kind] for kind in set(self.kinds) - {WINDOW}))

    def entry(self, kind: str) -> int:
        """Return the number of values of an entry, including the indexer's key."""
        return {WINDOW: 0, SPARSE: self.dim + self.indexer.dim, HEAVY: self.dim}[kind]

    def source(self, kind: str) -> int:
        """Return the number of values that a token contributes to an entry: values and gates.

        Entries of few tokens also use the tokens of the previous entry, so each token has two of
        both.
        """
        return (4 if kind == SPARSE else 2) * self.entry(kind)

    def waiting(self, kind: str) -> int:
        """Return the number of last tokens of a sequence that later entries may use."""
        if kind == WINDOW:
            return 0
        return (2 if kind == SPARSE else 1) * self.rates[kind] - 1

    @property
    def of_sequence(self) -> int:
        """Number of cached values per sequence, independent of its length."""
        window = (self.window - 1) * self.dim
        return sum(window + self.waiting(kind) * self.source(kind) for kind in self.kinds)

    def of_tokens(self, tokens: int) -> int:
        """Return the number of cached values of `tokens` tokens, a multiple of `stretch`."""
        return sum(
            tokens // self.rates[kind] * self.entry(kind) for kind in self.kinds if kind != WINDOW
        )
