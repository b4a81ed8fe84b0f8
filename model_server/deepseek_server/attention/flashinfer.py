"""Attention by FlashInfer's kernels: NVIDIA GPUs from the Ampere generation on, 16-bit numbers.

Keys and values are read where they are, in the cache's blocks. Single tokens and longer chunks of
grouped-query attention have kernels of their own; latent attention has one for both. What the
kernels need to know of a step is computed once per step, on the CPU, and used by all layers.

FlashInfer compiles a kernel when it is first used, unless it finds it compiled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from deepseek_server.attention.cache import PagedCache
from deepseek_server.attention.interface import CacheSize, GroupedHeads, Heads, LatentHeads, Row
from deepseek_server.engine.step import Chunk

# Scratch memory of the kernels, as FlashInfer's documentation recommends.
WORKSPACE_BYTES = 128 * 2**20
# From this many query heads to a head of keys on, tensor cores win in decoding.
TENSOR_CORE_GROUP = 4


def unsuitable(heads: Heads, dtype: torch.dtype, device: torch.device) -> str:
    """Why FlashInfer cannot serve a model here; empty where it can."""
    if device.type != "cuda":
        return "it needs an NVIDIA GPU"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of the Ampere generation or a newer one"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"it computes in float16 or bfloat16, not {dtype}".replace("torch.", "")
    if isinstance(heads, GroupedHeads) and heads.dim not in (64, 128, 256):
        return f"it has no kernel for heads of {heads.dim} values"
    if isinstance(heads, LatentHeads) and (heads.rank, heads.rope) != (512, 64):
        return f"it has no kernel for latents of {heads.rank} + {heads.rope} values"
    try:
        import flashinfer  # noqa: F401 - only whether it is there
    except ImportError as error:
        return f"the package flashinfer-python cannot be imported ({error})"
    return ""


@dataclass(frozen=True)
class _Table:
    """Where chunks are in the row and in the cache, as FlashInfer wants it: int32, on the CPU.

    Attributes:
        queries: Where each chunk's tokens begin in the row, and the end: [n + 1].
        starts: Where each chunk's blocks begin in `blocks`, and the end: [n + 1].
        blocks: Blocks of all chunks, one after the other.
        lengths: Tokens of each sequence up to the end of the chunk: [n].
        last: Tokens in each chunk's last block: [n].
    """

    queries: torch.Tensor
    starts: torch.Tensor
    blocks: torch.Tensor
    lengths: torch.Tensor
    last: torch.Tensor


def _table(chunks: Sequence[Chunk], block_size: int) -> _Table:
    lengths = [chunk.start + len(chunk.tokens) for chunk in chunks]
    counts = [-(-length // block_size) for length in lengths]
    blocks: list[int] = []
    for chunk, count in zip(chunks, counts, strict=True):
        blocks.extend(chunk.blocks[:count])
    return _Table(
        queries=_int32([0, *accumulate(len(chunk.tokens) for chunk in chunks)]),
        starts=_int32([0, *accumulate(counts)]),
        blocks=_int32(blocks),
        lengths=_int32(lengths),
        last=_int32([(length - 1) % block_size + 1 for length in lengths]),
    )


def _int32(numbers: list[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


class FlashInferAttention:
    """See the module. The arguments are those of SdpaAttention, and must not be unsuitable."""

    def __init__(
        self, heads: Heads, size: CacheSize, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._cache = PagedCache(heads, size, dtype, device)
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
        self._kernels: _Grouped | _Latent
        if isinstance(heads, GroupedHeads):
            self._kernels = _Grouped(heads, size.block_size, dtype, workspace)
        else:
            self._kernels = _Latent(heads, size.block_size, dtype, workspace)
        self._slots = torch.empty(0, dtype=torch.int64, device=device)

    @property
    def size(self) -> CacheSize:
        """See Attention."""
        return self._cache.size

    def plan(self, row: Row) -> None:
        """See Attention."""
        self._slots = row.slots
        self._kernels.plan(row)

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """See Attention."""
        assert isinstance(self._kernels, _Grouped)  # noqa: S101 - a programming error
        self._cache.write(layer, self._slots, key, value)
        return self._kernels.run(
            query.contiguous(), (self._cache.keys(layer), self._cache.values(layer))
        )

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """See Attention."""
        assert isinstance(self._kernels, _Latent)  # noqa: S101 - a programming error
        self._cache.write(layer, self._slots, latent.unsqueeze(1))
        return self._kernels.run(query.contiguous(), self._cache.keys(layer).squeeze(2))


class _Grouped:
    """Kernels of grouped-query attention: one for single tokens, one for longer chunks."""

    def __init__(
        self, heads: GroupedHeads, block_size: int, dtype: torch.dtype, workspace: torch.Tensor
    ) -> None:
        from flashinfer import (
            BatchDecodeWithPagedKVCacheWrapper,
            BatchPrefillWithPagedKVCacheWrapper,
        )

        self._heads, self._block_size, self._dtype = heads, block_size, dtype
        tensor_cores = heads.heads // heads.kv_heads >= TENSOR_CORE_GROUP
        self._decode: Any = BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_tensor_cores=tensor_cores
        )
        self._prefill: Any = BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD")
        self._singles = self._spans = 0

    def plan(self, row: Row) -> None:
        self._singles, self._spans = row.singles, len(row.chunks) - row.singles
        heads = self._heads
        common = {
            "sm_scale": heads.scale,
            "q_data_type": self._dtype,
            "kv_data_type": self._dtype,
        }
        if self._singles:
            table = _table(row.chunks[: row.singles], self._block_size)
            self._decode.plan(
                table.starts,
                table.blocks,
                table.last,
                heads.heads,
                heads.kv_heads,
                heads.dim,
                self._block_size,
                **common,
            )
        if self._spans:
            table = _table(row.chunks[row.singles :], self._block_size)
            self._prefill.plan(
                table.queries,
                table.starts,
                table.blocks,
                table.last,
                heads.heads,
                heads.kv_heads,
                heads.dim,
                self._block_size,
                causal=True,
                **common,
            )

    def run(self, query: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        result = torch.empty_like(query)
        if self._singles:
            self._decode.run(query[: self._singles], cache, out=result[: self._singles])
        if self._spans:
            self._prefill.run(query[self._singles :], cache, out=result[self._singles :])
        return result


class _Latent:
    """The kernel of absorbed latent attention."""

    def __init__(
        self, heads: LatentHeads, block_size: int, dtype: torch.dtype, workspace: torch.Tensor
    ) -> None:
        from flashinfer.mla import BatchMLAPagedAttentionWrapper

        self._heads, self._block_size, self._dtype = heads, block_size, dtype
        self._wrapper: Any = BatchMLAPagedAttentionWrapper(workspace)

    def plan(self, row: Row) -> None:
        from flashinfer.mla import MLAPlanMetadata

        table = _table(row.chunks, self._block_size)
        self._wrapper.plan(
            metadata=MLAPlanMetadata.csr(
                qo_indptr=table.queries,
                kv_indptr=table.starts,
                kv_indices=table.blocks,
                kv_len_arr=table.lengths,
            ),
            num_heads=self._heads.heads,
            head_dim_ckv=self._heads.rank,
            head_dim_kpe=self._heads.rope,
            page_size=self._block_size,
            causal=True,
            sm_scale=self._heads.scale,
            q_data_type=self._dtype,
            kv_data_type=self._dtype,
        )

    def run(self, query: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._wrapper.run(query=query, kv_cache=cache)
        return result
