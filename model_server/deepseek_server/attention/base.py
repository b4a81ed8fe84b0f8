"""What a model asks of attention, whichever library computes it.

A step packs the tokens of many sequences into one row. Models know nothing of that: they compute
queries, keys and values token by token and hand them over layer by layer. Attention puts the keys
and values into the cache's blocks and lets every token see the tokens of its own sequence up to
itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from deepseek_server.engine.runner import Chunk


@dataclass(frozen=True)
class GroupedHeads:
    """Grouped-query attention: several query heads share a head of keys and values.

    Attributes:
        heads: Query heads.
        kv_heads: Heads of keys and values; divides `heads`.
        dim: Values of one head, the same for keys and values.
        scale: Factor of query times key before the softmax.
    """

    heads: int
    kv_heads: int
    dim: int
    scale: float

    @property
    def cached_values(self) -> int:
        """Numbers that one layer keeps for a token."""
        return 2 * self.kv_heads * self.dim


@dataclass(frozen=True)
class LatentHeads:
    """DeepSeek's multi-head latent attention, absorbed: all heads share one latent vector.

    Attributes:
        heads: Query heads.
        rank: Width of the latent, which is key and value at once.
        rope: Width of the rotated part of the key.
        scale: Factor of query times key before the softmax.
    """

    heads: int
    rank: int
    rope: int
    scale: float

    @property
    def cached_values(self) -> int:
        """Numbers that one layer keeps for a token."""
        return self.rank + self.rope


@dataclass(frozen=True)
class SparseHeads(LatentHeads):
    """Latent attention over the tokens that an indexer chooses.

    Attributes:
        index_heads: Heads of the indexer's queries; its key is one for all of them.
        index_dim: Values of an indexer's head.
        topk: Tokens that are chosen; all where there are no more.
    """

    index_heads: int
    index_dim: int
    topk: int

    @property
    def cached_values(self) -> int:
        """Numbers that one layer keeps for a token: the latent, and the indexer's key."""
        return self.rank + self.rope + self.index_dim


Heads = GroupedHeads | LatentHeads


@dataclass(frozen=True)
class CacheSize:
    """The extent of a paged cache.

    Attributes:
        layers: Layers of the model.
        blocks: Blocks that sequences may use.
        block_size: Tokens of a block.
        longest: Tokens of the longest sequence; None: as many as all blocks hold.
    """

    layers: int
    blocks: int
    block_size: int
    longest: int | None = None

    @property
    def blocks_of_sequence(self) -> int:
        """Blocks of a sequence at most."""
        if self.longest is None:
            return self.blocks
        return min(self.blocks, -(-self.longest // self.block_size))


@dataclass(frozen=True)
class Row:
    """The chunks of one step as one row of tokens.

    Attributes:
        chunks: In the order of the row: those of a single token first.
        singles: How many chunks have a single token.
        places: For every token, its place in the cache counted in tokens: [tokens], int64.
        recorded: Tokens of the row where it is run by a recorded graph of that many single tokens,
            of which those beyond the chunks belong to nobody; 0 where it is run as it is.
    """

    chunks: Sequence[Chunk]
    singles: int
    places: torch.Tensor
    recorded: int = 0


class Planned(Protocol):
    """A cache, and what attends over it in a way that the model knows."""

    @property
    def size(self) -> CacheSize:
        """The extent of the cache."""

    @property
    def can_be_recorded(self) -> bool:
        """Whether a step of single tokens can be recorded as a CUDA graph, to be run again."""

    def plan(self, row: Row) -> None:
        """Prepare for a step; the calls until the next plan are about this row."""


class Attention(Planned, Protocol):
    """Attention over a cache of what a model keeps of every token."""

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Cache keys and values of a layer and attend.

        Args:
            layer: Index of the layer.
            query: [tokens, heads, dim].
            key: [tokens, kv_heads, dim].
            value: [tokens, kv_heads, dim].

        Returns:
            [tokens, heads, dim].
        """

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Cache latents of a layer and attend.

        Args:
            layer: Index of the layer.
            query: [tokens, heads, rank + rope], moved into the space of the latents.
            latent: [tokens, rank + rope].

        Returns:
            Weighted sums of latents: [tokens, heads, rank].
        """
