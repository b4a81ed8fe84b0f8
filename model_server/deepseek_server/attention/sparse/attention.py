"""Absorbed latent attention over the cached tokens that an indexer selects, in torch.

It is the reference, and batched: there is no loop over sequences and no synchronization with the
device, and memory stays within a budget for any context. Beside the latents, which belong to a
dense backend, the indexer's keys are in a paged cache of the same blocks. So blocks can be shared
and recomputed like any others.

A layer first selects, then attends (see models.layers.sparse). The selection is a list of cache
slots for each token, filled up with -1, which is the form that sparse MLA kernels take. If all
contexts of a step are short enough for everything to be selected, nothing is scored and the dense
backend attends.
"""

from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from deepseek_server.attention.base import (
    Attention,
    CacheSize,
    LatentHeads,
    PackedBatch,
    SparseHeads,
)
from deepseek_server.attention.kv_cache import PagedCache
from deepseek_server.attention.sparse.selection import FLOAT32, TILE_BYTES, Indexer, Selection


class Dense(Attention, Protocol):
    """A backend of latent attention with an accessible cache."""

    @property
    def cache(self) -> PagedCache:
        """The latents of all layers."""


class SparseAttention:
    """Sparse attention: see the module, and Attention.

    Args:
        heads: The model's heads, the same in all layers.
        dense: The backend for steps without selection; its cache holds the latents.
        dtype: Type of latents and keys.
        device: Device of the model.
    """

    def __init__(
        self, heads: SparseHeads, dense: Dense, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._heads, self._dense = heads, dense
        # A key is one vector for all heads, like a latent.
        self._keys = PagedCache(
            LatentHeads(heads=1, kv_lora_rank=heads.index_dim, qk_rope_head_dim=0, scale=1.0),
            dense.size,
            dtype,
            device,
        )
        self._selection = Selection(
            Indexer(heads.index_heads, heads.index_dim, heads.topk),
            dense.size.block_size,
            dense.cache.spare,
            dtype,
            device,
        )
        self._tile_bytes = TILE_BYTES[device.type]
        self._slot_mapping = torch.empty(0, dtype=torch.int64, device=device)
        self._sparse = False
        self._chosen = torch.empty(0, heads.topk, dtype=torch.int32, device=device)

    @property
    def size(self) -> CacheSize:
        """See Attention."""
        return self._dense.size

    @property
    def supports_cuda_graphs(self) -> bool:
        """See Attention. The number and shapes of tiles differ from step to step."""
        return False

    @property
    def cached_bytes(self) -> int:
        """Bytes of all caches."""
        return self._dense.cache.nbytes + self._keys.nbytes

    def plan(self, batch: PackedBatch) -> None:
        """See Attention."""
        self._slot_mapping = batch.slot_mapping
        self._sparse = self._selection.is_needed(batch.chunks)
        if self._sparse:
            self._selection.plan(batch.chunks)
        else:
            self._dense.plan(batch)

    def choose(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """Cache the indexer's keys of a layer, and select the tokens that it attends to.

        Args:
            layer: Index of the layer.
            query: [tokens, index_heads, index_dim].
            key: [tokens, index_dim].
            weights: Weights of the heads, float32: [tokens, index_heads].
        """
        self._keys.write(layer, self._slot_mapping, key.unsqueeze(1))
        if self._sparse:
            self._chosen = self._selection.choose(query, weights, self._keys.keys(layer).squeeze(2))

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """See Attention; attends to the tokens selected for the layer."""
        if not self._sparse:
            return self._dense.latent(layer, query, latent)
        cache = self._dense.cache
        cache.write(layer, self._slot_mapping, latent.unsqueeze(1))
        latents = cache.keys(layer).flatten(0, 2)
        tokens_per_tile = self._tokens_per_tile(latents)
        parts = [
            self._attend(part, chosen, latents)
            for part, chosen in zip(
                query.split(tokens_per_tile), self._chosen.split(tokens_per_tile), strict=True
            )
        ]
        return torch.cat(parts)

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """See Attention; the dense backend computes it."""
        return self._dense.grouped(layer, query, key, value)

    def _attend(
        self, query: torch.Tensor, chosen: torch.Tensor, latents: torch.Tensor
    ) -> torch.Tensor:
        """Return weighted sums of latents: [n, heads, kv_lora_rank].

        Args:
            query: [n, heads, kv_lora_rank + qk_rope_head_dim].
            chosen: [n, topk].
            latents: [cache slots, kv_lora_rank + qk_rope_head_dim].
        """
        kept = latents[chosen.clamp(min=0)].unsqueeze(1)
        # The value is as wide as the key, so that one tensor serves as both.
        mixed = scaled_dot_product_attention(
            query.unsqueeze(1),
            kept,
            kept,
            attn_mask=(chosen >= 0)[:, None, None],
            scale=self._heads.scale,
        )
        return mixed[:, 0, :, : self._heads.kv_lora_rank]

    def _tokens_per_tile(self, latents: torch.Tensor) -> int:
        """Return the number of tokens per tile, for gathered latents, scores and their softmax."""
        gathered = 2 * latents.shape[1] * latents.itemsize
        token = self._heads.topk * (gathered + 3 * self._heads.heads * FLOAT32)
        return max(1, int(self._tile_bytes // token))
