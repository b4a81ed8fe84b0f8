"""Absorbed latent attention over the cached tokens that an indexer chooses, in torch.

The reference, and batched: nothing here loops over sequences, nothing waits for the device, and
memory stays within a budget whatever the context. Beside the latents, which belong to a dense
backend, the indexer's keys lie in a paged cache of the same blocks. So a block can be shared and
recomputed as any other.

A layer first chooses, then attends (see models.sparse). What is chosen is a list of cache slots
for each token, -1 where it sees fewer, which is the form that sparse MLA kernels take. Where all
contexts of a step are short enough for everything to be chosen, nothing is scored, and the dense
backend attends.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from deepseek_server.attention.cache import PagedCache
from deepseek_server.attention.interface import (
    Attention,
    CacheSize,
    LatentHeads,
    Row,
    SparseHeads,
)
from deepseek_server.attention.sparse.scores import best
from deepseek_server.attention.sparse.tiles import Budget, tiles

# Bytes for the scores, or the gathered latents, of a tile.
TILE_BYTES = {"cpu": 2**26, "cuda": 2**29}
_FLOAT32 = 4


class Dense(Attention, Protocol):
    """A backend of latent attention whose cache others may read and write."""

    @property
    def cache(self) -> PagedCache:
        """The latents of all layers."""


@dataclass(frozen=True)
class _Tile:
    """A tile on the device: see tiles.Tile."""

    rows: torch.Tensor
    positions: torch.Tensor
    blocks: torch.Tensor


class SparseAttention:
    """Sparse attention: see the module, and Attention.

    Args:
        heads: The model's heads, the same in all layers.
        dense: What attends where everything is attended to; has the latents.
        dtype: Type of latents and keys.
        device: Where the model is.
    """

    def __init__(
        self, heads: SparseHeads, dense: Dense, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._heads, self._dense, self._device = heads, dense, device
        # A key is one vector for all heads, as a latent is.
        self._keys = PagedCache(
            LatentHeads(heads=1, rank=heads.index_dim, rope=0, scale=1.0), dense.size, dtype, device
        )
        self._tile_bytes = TILE_BYTES[device.type]
        self._budget = Budget(
            self._tile_bytes,
            # As they are cached, and in float32.
            key=heads.index_dim * (dtype.itemsize + _FLOAT32),
            # Of each head, and summed, masked and sorted.
            score=_FLOAT32 * (heads.index_heads + 4),
        )
        self._places = torch.empty(0, dtype=torch.int64, device=device)
        self._tiles: list[_Tile] = []
        self._chosen = torch.empty(0, heads.topk, dtype=torch.int32, device=device)

    @property
    def size(self) -> CacheSize:
        """See Attention."""
        return self._dense.size

    @property
    def can_be_recorded(self) -> bool:
        """See Attention. The number and shapes of tiles differ from step to step."""
        return False

    @property
    def cached_bytes(self) -> int:
        """Bytes of all caches."""
        return self._dense.cache.nbytes + self._keys.nbytes

    def plan(self, row: Row) -> None:
        """See Attention."""
        self._places = row.places
        if max(chunk.end for chunk in row.chunks) <= self._heads.topk:
            self._tiles = []
            self._dense.plan(row)
            return
        self._tiles = self._on_device(row)
        self._chosen = torch.full(
            (len(row.places), self._heads.topk), -1, dtype=torch.int32, device=self._device
        )

    def choose(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, weights: torch.Tensor
    ) -> None:
        """Cache the indexer's keys of a layer, and choose what its attention sees.

        Args:
            layer: Index of the layer.
            query: [tokens, index_heads, index_dim].
            key: [tokens, index_dim].
            weights: Weights of the heads, float32: [tokens, index_heads].
        """
        self._keys.write(layer, self._places, key.unsqueeze(1))
        keys, block_size = self._keys.keys(layer), self.size.block_size
        for tile in self._tiles:
            # [pieces, blocks, block_size, 1, dim]
            kept = keys[tile.blocks].flatten(1, 3)
            count = min(self._heads.topk, kept.shape[1])
            found = best(query[tile.rows], weights[tile.rows], kept, tile.positions, count)
            known = found.clamp(min=0).flatten(1)
            places = tile.blocks.gather(1, known // block_size) * block_size + known % block_size
            places = places.view_as(found).masked_fill_(found < 0, -1)
            self._chosen[tile.rows.flatten(), :count] = places.flatten(0, 1).int()

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """See Attention; attends to what was chosen for the layer."""
        if not self._tiles:
            return self._dense.latent(layer, query, latent)
        cache = self._dense.cache
        cache.write(layer, self._places, latent.unsqueeze(1))
        latents = cache.keys(layer).flatten(0, 2)
        together = self._together(latents)
        parts = [
            self._attend(part, chosen, latents)
            for part, chosen in zip(
                query.split(together), self._chosen.split(together), strict=True
            )
        ]
        return torch.cat(parts)

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """See Attention: the dense backend's."""
        return self._dense.grouped(layer, query, key, value)

    def _attend(
        self, query: torch.Tensor, chosen: torch.Tensor, latents: torch.Tensor
    ) -> torch.Tensor:
        """Return weighted sums of latents: [n, heads, rank].

        Args:
            query: [n, heads, rank + rope].
            chosen: [n, topk].
            latents: [places, rank + rope].
        """
        kept = latents[chosen.clamp(min=0)].unsqueeze(1)
        # The value is taken as wide as the key, which lets one tensor be both.
        mixed = scaled_dot_product_attention(
            query.unsqueeze(1),
            kept,
            kept,
            attn_mask=(chosen >= 0)[:, None, None],
            scale=self._heads.scale,
        )
        return mixed[:, 0, :, : self._heads.rank]

    def _together(self, latents: torch.Tensor) -> int:
        """Return how many tokens attend at once: gathered latents, scores and their softmax."""
        gathered = 2 * latents.shape[1] * latents.itemsize
        token = self._heads.topk * (gathered + 3 * self._heads.heads * _FLOAT32)
        return max(1, int(self._tile_bytes // token))

    def _on_device(self, row: Row) -> list[_Tile]:
        """Return the tiles of a step, brought to the device by one copy."""
        planned = tiles(row.chunks, self.size.block_size, self._budget, self._dense.cache.spare)
        arrays = [part for tile in planned for part in (tile.rows, tile.positions, tile.blocks)]
        packed = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
        if self._device.type == "cuda":
            packed = packed.pin_memory()
        moved = packed.to(self._device, non_blocking=True).split([array.size for array in arrays])
        parts = iter(flat.view(array.shape) for flat, array in zip(moved, arrays, strict=True))
        return [
            _Tile(rows, positions, blocks)
            for rows, positions, blocks in zip(*3 * [parts], strict=True)
        ]
