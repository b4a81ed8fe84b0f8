"""The memory of a paged cache: for every layer, blocks of what is kept for a token.

There is one block more than sequences may use. It stands in where a block is missing: shorter
sequences in a padded batch point at it. It starts as zeros like all blocks, because a masked value
counts nothing only as long as it is a number.
"""

import torch

from deepseek_server.attention.base import CacheSize, GroupedHeads, Heads


class PagedCache:
    """Keys and values, or latents, of all layers.

    Args:
        heads: What one layer keeps for a token.
        size: How much is kept.
        dtype: Type of the kept numbers.
        device: Where they are kept.
    """

    def __init__(
        self, heads: Heads, size: CacheSize, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.size = size
        if isinstance(heads, GroupedHeads):
            parts, token = 2, (heads.kv_heads, heads.dim)
        else:
            parts, token = 1, (1, heads.rank + heads.rope)
        self._layers = torch.zeros(
            (size.layers, parts, size.blocks + 1, size.block_size, *token),
            dtype=dtype,
            device=device,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return int(self._layers.nbytes)

    @property
    def spare(self) -> int:
        """The block that belongs to no sequence."""
        return self.size.blocks

    def keys(self, layer: int) -> torch.Tensor:
        """Keys, or latents, of a layer: [blocks, block_size, kv_heads, width]."""
        return self._layers[layer, 0]

    def values(self, layer: int) -> torch.Tensor:
        """Values of a layer, which latents are themselves: [blocks, block_size, kv_heads, width]."""
        return self._layers[layer, -1]

    def write(self, layer: int, places: torch.Tensor, *parts: torch.Tensor) -> None:
        """Keep keys and values, or latents, of new tokens.

        Args:
            layer: Index of the layer.
            places: Place of each token: [tokens].
            *parts: Keys and values, or latents: [tokens, kv_heads, width] each.
        """
        for kept, new in zip(self._layers[layer], parts, strict=True):
            kept.flatten(0, 1).index_copy_(0, places, new)
