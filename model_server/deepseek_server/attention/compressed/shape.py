"""What DeepSeek-V4's layers keep: of each sequence, and of each of its tokens."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deepseek_server.attention.sparse.selection import Indexer

# The kinds of layers, by the names of transformers: a window alone; with entries of few tokens, of
# which an indexer chooses; with entries of many tokens.
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
        heads: Query heads, which share one head of keys, which are the values too.
        dim: Values of a head.
        window: Tokens that a token sees, itself included.
        rates: Tokens that become an entry, by kind of layer.
        indexer: What chooses entries.
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
        """Tokens that become whole entries in all layers: blocks have a multiple of them."""
        return math.lcm(*(self.rates[kind] for kind in set(self.kinds) - {WINDOW}))

    def entry(self, kind: str) -> int:
        """Return the numbers of an entry, with the indexer's key."""
        return {WINDOW: 0, SPARSE: self.dim + self.indexer.dim, HEAVY: self.dim}[kind]

    def source(self, kind: str) -> int:
        """Return the numbers of a token that becomes part of an entry: values and gates.

        An entry of few tokens is made of as many before them too, so each token has two of both.
        """
        return (4 if kind == SPARSE else 2) * self.entry(kind)

    def waiting(self, kind: str) -> int:
        """Return how many last tokens of a sequence later entries may be made of."""
        if kind == WINDOW:
            return 0
        return (2 if kind == SPARSE else 1) * self.rates[kind] - 1

    @property
    def of_sequence(self) -> int:
        """Numbers that are kept of a sequence, however long it is."""
        window = (self.window - 1) * self.dim
        return sum(window + self.waiting(kind) * self.source(kind) for kind in self.kinds)

    def of_tokens(self, tokens: int) -> int:
        """Return the numbers that are kept of so many tokens, a multiple of `stretch`."""
        return sum(
            tokens // self.rates[kind] * self.entry(kind) for kind in self.kinds if kind != WINDOW
        )
