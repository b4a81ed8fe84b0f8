"""The memory of a paged cache: blocks of cached tokens for every layer.

There is one spare block that no sequence may use. Padding points to it: the missing blocks of
shorter sequences in a padded batch. It is initialized with zeros like all blocks, because a masked
value has no effect only if it is not NaN.
"""

import torch

from deepseek_server.attention.base import CacheSize, GroupedHeads, Heads


class PagedCache:
    """Keys and values, or latents, of all layers.

    Args:
        heads: The model's heads, which define what a layer caches per token.
        size: Size of the cache.
        dtype: Type of the cached values.
        device: Device of the cache.
    """

    def __init__(
        self, heads: Heads, size: CacheSize, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.size = size
        if isinstance(heads, GroupedHeads):
            parts, token = 2, (heads.kv_heads, heads.dim)
        else:
            parts, token = 1, (1, heads.kv_lora_rank + heads.qk_rope_head_dim)
        self._layers = torch.zeros(
            (size.layers, parts, size.blocks + 1, size.block_size, *token),
            dtype=dtype,
            device=device,
        )

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self._layers.nbytes)

    @property
    def spare(self) -> int:
        """Index of the spare block, which belongs to no sequence."""
        return self.size.blocks

    def keys(self, layer: int) -> torch.Tensor:
        """Return keys, or latents, of a layer: [blocks, block_size, kv_heads, width]."""
        return self._layers[layer, 0]

    def values(self, layer: int) -> torch.Tensor:
        """Return values, or latents, of a layer: [blocks, block_size, kv_heads, width]."""
        return self._layers[layer, -1]

    def write(self, layer: int, slot_mapping: torch.Tensor, *parts: torch.Tensor) -> None:
        """Write keys and values, or latents, of new tokens.

        Args:
            layer: Index of the layer.
            slot_mapping: Index of each token in the cache: [tokens].
            *parts: Keys and values, or latents: [tokens, kv_heads, width] each.
        """
        for kept, new in zip(self._layers[layer], parts, strict=True):
            kept.flatten(0, 1).index_copy_(0, slot_mapping, new)
