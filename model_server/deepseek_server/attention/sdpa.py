"""Attention by torch's scaled dot product: runs on every device and is the reference.

Chunks of one token are computed together. The query heads of a group become rows of one query,
since all of them attend to the same keys, so that no key is repeated. Sequences are padded to a
common length; sequences of very different lengths go into different batches, because padding would
cost more than batching saves. Longer chunks are computed one by one.

The latents of MLA are keys and values of one head. The value is as wide as the key, so that one
tensor serves as both, and the surplus of the output is dropped.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from deepseek_server.attention.base import CacheSize, Heads, LatentHeads, PackedBatch
from deepseek_server.attention.kv_cache import PagedCache
from deepseek_server.engine.runner import Chunk


@dataclass(frozen=True)
class _Batch:
    """Decode tokens of sequences of similar length.

    Attributes:
        tokens: Their indices in the batch: [n].
        blocks: Block table of their sequences, padded: [n, blocks].
        visible: Mask of the cached tokens that each attends to: [n, 1, 1, blocks * block_size].
    """

    tokens: torch.Tensor
    blocks: torch.Tensor
    visible: torch.Tensor


@dataclass(frozen=True)
class _Span:
    """The tokens of one longer chunk.

    Attributes:
        tokens: Their range in the batch.
        context: Tokens of the sequence up to the last of them.
        blocks: Blocks of the context: [blocks].
        visible: Mask of the cached tokens that each attends to: [tokens, context]; None if the
            chunk starts its sequence and attends only to itself.
    """

    tokens: slice
    context: int
    blocks: torch.Tensor
    visible: torch.Tensor | None


class SdpaAttention:
    """The reference backend: see the module.

    Args:
        heads: The model's heads, the same in all layers.
        size: Size of the cache.
        dtype: Type of keys and values.
        device: Device of the model.
    """

    def __init__(
        self, heads: Heads, size: CacheSize, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._heads, self._device = heads, device
        self._cache = PagedCache(heads, size, dtype, device)
        self._slot_mapping = torch.empty(0, dtype=torch.int64, device=device)
        self._batches: list[_Batch] = []
        self._spans: list[_Span] = []

    @property
    def size(self) -> CacheSize:
        """See Attention."""
        return self._cache.size

    @property
    def cache(self) -> PagedCache:
        """The cache."""
        return self._cache

    @property
    def supports_cuda_graphs(self) -> bool:
        """See Attention. False, because batches have another shape in every step."""
        return False

    def plan(self, batch: PackedBatch) -> None:
        """See Attention."""
        self._slot_mapping = batch.slot_mapping
        similar = defaultdict(list)
        for index, chunk in enumerate(batch.chunks[: batch.num_decode_tokens]):
            similar[self._blocks_of(chunk).bit_length()].append((index, chunk))
        self._batches = [self._batch(members) for members in similar.values()]
        self._spans, begin = [], batch.num_decode_tokens
        for chunk in batch.chunks[batch.num_decode_tokens :]:
            self._spans.append(self._span(chunk, begin))
            begin += len(chunk)

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """See Attention."""
        self._cache.write(layer, self._slot_mapping, key, value)
        return self._attend(layer, query, key, value)

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """See Attention."""
        assert isinstance(self._heads, LatentHeads)  # noqa: S101 - a programming error
        key = latent.unsqueeze(1)
        self._cache.write(layer, self._slot_mapping, key)
        return self._attend(layer, query, key, key)[..., : self._heads.kv_lora_rank]

    def _attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        result = torch.empty_like(query)
        keys, values = self._cache.keys(layer), self._cache.values(layer)
        for batch in self._batches:
            result[batch.tokens] = self._attend_batch(batch, query[batch.tokens], keys, values)
        for span in self._spans:
            if span.visible is None:
                new = key[span.tokens], value[span.tokens]
            else:
                kept = (part[span.blocks].flatten(0, 1)[: span.context] for part in (keys, values))
                new = next(kept), next(kept)
            result[span.tokens] = self._attend_span(span, query[span.tokens], *new)
        return result

    def _attend_batch(
        self, batch: _Batch, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        key = keys[batch.blocks].flatten(1, 2).transpose(1, 2)
        value = key if values is keys else values[batch.blocks].flatten(1, 2).transpose(1, 2)
        rows = query.unflatten(1, (key.shape[1], -1))
        return scaled_dot_product_attention(
            rows, key, value, attn_mask=batch.visible, scale=self._heads.scale
        ).flatten(1, 2)

    def _attend_span(
        self, span: _Span, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        query, key, value = (part.transpose(0, 1).unsqueeze(0) for part in (query, key, value))
        return scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=span.visible,
            is_causal=span.visible is None,
            scale=self._heads.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )[0].transpose(0, 1)

    def _blocks_of(self, chunk: Chunk) -> int:
        return -(-chunk.end // self._cache.size.block_size)

    def _batch(self, members: Sequence[tuple[int, Chunk]]) -> _Batch:
        width = max(self._blocks_of(chunk) for _, chunk in members)
        table = []
        for _, chunk in members:
            blocks = chunk.blocks[:width]
            table.append(blocks + (self._cache.spare,) * (width - len(blocks)))
        positions = torch.tensor([chunk.start for _, chunk in members], device=self._device)
        kept = torch.arange(width * self._cache.size.block_size, device=self._device)
        return _Batch(
            tokens=torch.tensor([index for index, _ in members], device=self._device),
            blocks=torch.tensor(table, device=self._device),
            visible=(kept <= positions[:, None])[:, None, None],
        )

    def _span(self, chunk: Chunk, begin: int) -> _Span:
        count, context = len(chunk), chunk.end
        visible = None
        if chunk.start > 0:
            positions = torch.arange(chunk.start, context, device=self._device)
            visible = torch.arange(context, device=self._device) <= positions[:, None]
        return _Span(
            tokens=slice(begin, begin + count),
            context=context,
            blocks=torch.tensor(chunk.blocks[: self._blocks_of(chunk)], device=self._device),
            visible=visible,
        )
