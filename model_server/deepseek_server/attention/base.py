"""The interface of attention backends.

A step packs the tokens of many sequences into one batch. Models are unaware of that: they compute
queries, keys and values token by token and pass them on layer by layer. Attention writes keys and
values into the cache's blocks and lets every token attend to the tokens of its own sequence up to
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
        kv_lora_rank: Width of the latent, which is key and value at once.
        qk_rope_head_dim: Width of the rotated part of the key.
        scale: Factor of query times key before the softmax.
    """

    heads: int
    kv_lora_rank: int
    qk_rope_head_dim: int
    scale: float

    @property
    def cached_values(self) -> int:
        """Numbers that one layer keeps for a token."""
        return self.kv_lora_rank + self.qk_rope_head_dim


@dataclass(frozen=True)
class SparseHeads(LatentHeads):
    """Latent attention over the tokens that an indexer selects.

    Attributes:
        index_heads: Heads of the indexer's queries, which share one key.
        index_dim: Values of an indexer's head.
        topk: Number of tokens to select; all if there are fewer.
    """

    index_heads: int
    index_dim: int
    topk: int

    @property
    def cached_values(self) -> int:
        """Numbers that one layer keeps for a token: the latent, and the indexer's key."""
        return self.kv_lora_rank + self.qk_rope_head_dim + self.index_dim


Heads = GroupedHeads | LatentHeads


@dataclass(frozen=True)
class CacheSize:
    """The size of a paged cache.

    Attributes:
        layers: Layers of the model.
        blocks: Blocks that sequences may use.
        block_size: Tokens per block.
        longest: Tokens of the longest sequence; None for the capacity of all blocks.
    """

    layers: int
    blocks: int
    block_size: int
    longest: int | None = None

    @property
    def blocks_of_sequence(self) -> int:
        """Maximum number of blocks of a sequence."""
        if self.longest is None:
            return self.blocks
        return min(self.blocks, -(-self.longest // self.block_size))


@dataclass(frozen=True)
class PackedBatch:
    """The chunks of one step as one packed batch of tokens.

    Attributes:
        chunks: In the order of the batch: chunks of a single token (decode) first.
        num_decode_tokens: Number of chunks of a single token.
        slot_mapping: Index of each token in the cache, counted in tokens: [tokens], int64.
        captured_size: Number of tokens of the CUDA graph that runs the step; tokens beyond the
            chunks are padding. 0 if the step runs without a graph.
    """

    chunks: Sequence[Chunk]
    num_decode_tokens: int
    slot_mapping: torch.Tensor
    captured_size: int = 0


class Planned(Protocol):
    """Attention over a cache, planned step by step; the other methods depend on the model."""

    @property
    def size(self) -> CacheSize:
        """The size of the cache."""

    @property
    def supports_cuda_graphs(self) -> bool:
        """Whether decode steps can be captured as CUDA graphs."""

    def plan(self, batch: PackedBatch) -> None:
        """Prepare for a step; all calls until the next plan belong to this batch."""


class Attention(Planned, Protocol):
    """Attention over a cache of keys and values, or latents, of every token."""

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Cache a layer's keys and values and attend.

        Args:
            layer: Index of the layer.
            query: [tokens, heads, dim].
            key: [tokens, kv_heads, dim].
            value: [tokens, kv_heads, dim].

        Returns:
            [tokens, heads, dim].
        """

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Cache a layer's latents and attend.

        Args:
            layer: Index of the layer.
            query: [tokens, heads, kv_lora_rank + qk_rope_head_dim], in latent space.
            latent: [tokens, kv_lora_rank + qk_rope_head_dim].

        Returns:
            Weighted sums of latents: [tokens, heads, kv_lora_rank].
        """
