"""Attention by FlashInfer's kernels: NVIDIA GPUs from the Ampere generation on, 16-bit types.

Keys and values are read in place, from the cache's blocks. Grouped-query attention has separate
kernels for decode tokens and longer chunks; latent attention has one for both. The plan of a step
is computed once per step, on the CPU, and used by all layers.

A captured CUDA graph reads the plan from the buffers that were used at capture. So each graph size
has its own wrapper with static buffers.
"""

from collections.abc import Callable
from typing import Any

import torch

from deepseek_server.attention.base import CacheSize, GroupedHeads, Heads, LatentHeads, PackedBatch
from deepseek_server.attention.block_table import BlockTable, block_table
from deepseek_server.attention.kv_cache import PagedCache
from deepseek_server.attention.requirements import grouped_shape
from deepseek_server.kernels.required import Backend, backend_of

# Scratch memory of the kernels, as FlashInfer's documentation recommends.
WORKSPACE_BYTES = 128 * 2**20


class FlashInferAttention:
    """Attention by FlashInfer.

    The arguments are those of SdpaAttention; `requirements.unsuitable` must be empty for them.
    """

    def __init__(
        self, heads: Heads, size: CacheSize, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._cache = PagedCache(heads, size, dtype, device)
        common = (
            self._cache,
            dtype,
            torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=device),
        )
        self._kernels: _Grouped | _Latent
        if isinstance(heads, GroupedHeads):
            self._kernels = _Grouped(heads, *common)
        else:
            self._kernels = _Latent(heads, *common)
        self._slot_mapping = torch.empty(0, dtype=torch.int64, device=device)
        self._planned = torch.cuda.Event()

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
        """See Attention."""
        return True

    def plan(self, batch: PackedBatch) -> None:
        """See Attention."""
        # A plan is copied asynchronously to the device, from a buffer that the next one overwrites.
        self._planned.synchronize()
        self._slot_mapping = batch.slot_mapping
        self._kernels.plan(batch)
        self._planned.record()

    def grouped(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """See Attention."""
        assert isinstance(self._kernels, _Grouped)  # noqa: S101 - a programming error
        self._cache.write(layer, self._slot_mapping, key, value)
        return self._kernels.run(
            query.contiguous(), (self._cache.keys(layer), self._cache.values(layer))
        )

    def latent(self, layer: int, query: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """See Attention."""
        assert isinstance(self._kernels, _Latent)  # noqa: S101 - a programming error
        self._cache.write(layer, self._slot_mapping, latent.unsqueeze(1))
        return self._kernels.run(query.contiguous(), self._cache.keys(layer).squeeze(2))


class _Tables:
    """Block tables and their buffers on the device."""

    def __init__(self, cache: PagedCache, device: torch.device) -> None:
        self._size, self._spare, self._device = cache.size, cache.spare, device
        self._blocks = torch.empty(0, dtype=torch.int32, device=device)

    def of(self, batch: PackedBatch, chunks: slice) -> tuple[BlockTable, torch.Tensor]:
        """Return the block table of some chunks, and its blocks on the device."""
        table = block_table(
            batch.chunks[chunks], self._size.block_size, batch.captured_size, self._spare
        )
        return table, pinned(table.blocks).to(self._device, non_blocking=True)

    def buffers(self, rows: int) -> dict[str, torch.Tensor]:
        """Return the static buffers of the block tables that a graph of `rows` rows reads.

        Steps run one after the other, so all graphs share the buffer of blocks. The first graph
        allocates it and must be the largest one.
        """
        each = max(self._size.blocks_of_sequence, 1)
        if not len(self._blocks):
            # Sequences may share blocks, so a table may list more blocks than the cache has.
            self._blocks = self._zeros(rows * each)
        return {
            "queries": torch.arange(rows + 1, dtype=torch.int32, device=self._device),
            "starts": self._zeros(rows + 1),
            "blocks": self._blocks[: rows * each],
            "last": self._zeros(rows),
            "lengths": self._zeros(rows),
        }

    def _zeros(self, count: int) -> torch.Tensor:
        return torch.zeros(count, dtype=torch.int32, device=self._device)


def pinned(array: Any) -> torch.Tensor:
    """Return an array in pinned memory, from which the device copies asynchronously."""
    return torch.from_numpy(array).pin_memory()


def _backend(device: torch.device) -> Backend:
    """Return the backend of the kernels that were compiled ahead of time for this GPU."""
    return backend_of(torch.cuda.get_device_capability(device))


class _Grouped:
    """Kernels of grouped-query attention: one for decode tokens, one for longer chunks."""

    def __init__(
        self, heads: GroupedHeads, cache: PagedCache, dtype: torch.dtype, workspace: torch.Tensor
    ) -> None:
        from flashinfer import BatchPrefillWithPagedKVCacheWrapper

        self._heads, self._dtype, self._workspace = heads, dtype, workspace
        self._block_size = cache.size.block_size
        self._tables = _Tables(cache, workspace.device)
        self._prefill: Any = BatchPrefillWithPagedKVCacheWrapper(
            workspace, "NHD", backend=_backend(workspace.device)
        )
        self._decoders: dict[int, Any] = {}
        self._decode: Any = None
        self._num_decode_tokens = self._spans = 0

    def plan(self, batch: PackedBatch) -> None:
        self._num_decode_tokens = batch.captured_size or batch.num_decode_tokens
        self._spans = len(batch.chunks) - batch.num_decode_tokens
        heads = self._heads
        shape = (heads.heads, heads.kv_heads, heads.dim, self._block_size)
        common = {
            "sm_scale": heads.scale,
            "q_data_type": self._dtype,
            "kv_data_type": self._dtype,
        }
        if self._num_decode_tokens:
            self._decode = self._decoder(batch.captured_size)
            table, blocks = self._tables.of(batch, slice(batch.num_decode_tokens))
            self._decode.plan(pinned(table.starts), blocks, pinned(table.last), *shape, **common)
        if self._spans:
            table, blocks = self._tables.of(batch, slice(batch.num_decode_tokens, None))
            self._prefill.plan(
                pinned(table.queries),
                pinned(table.starts),
                blocks,
                pinned(table.last),
                *shape,
                causal=True,
                **common,
            )

    def run(self, query: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        result, count = torch.empty_like(query), self._num_decode_tokens
        if count:
            self._decode.run(query[:count], cache, out=result[:count])
        if self._spans:
            self._prefill.run(query[count:], cache, out=result[count:])
        return result

    def _decoder(self, captured_size: int) -> Any:
        """Return the wrapper for a captured size; 0: the one without a graph."""
        from flashinfer import BatchDecodeWithPagedKVCacheWrapper

        if captured_size not in self._decoders:
            graph = {}
            if captured_size:
                buffers = self._tables.buffers(captured_size)
                graph = {
                    "use_cuda_graph": True,
                    "paged_kv_indptr_buffer": buffers["starts"],
                    "paged_kv_indices_buffer": buffers["blocks"],
                    "paged_kv_last_page_len_buffer": buffers["last"],
                }
            self._decoders[captured_size] = BatchDecodeWithPagedKVCacheWrapper(
                self._workspace,
                "NHD",
                use_tensor_cores=grouped_shape(self._heads).tensor_cores,
                backend="fa2",  # FlashInfer's choice for 16-bit types on every GPU
                **graph,
            )
        return self._decoders[captured_size]


class _Latent:
    """The kernel of absorbed latent attention."""

    def __init__(
        self, heads: LatentHeads, cache: PagedCache, dtype: torch.dtype, workspace: torch.Tensor
    ) -> None:
        self._heads, self._dtype, self._workspace = heads, dtype, workspace
        self._block_size = cache.size.block_size
        self._tables = _Tables(cache, workspace.device)
        self._wrappers: dict[int, Any] = {}
        self._run: Callable[..., torch.Tensor]

    def plan(self, batch: PackedBatch) -> None:
        from flashinfer.mla import MLAPlanMetadata

        table, blocks = self._tables.of(batch, slice(None))
        wrapper = self._wrapper(batch.captured_size)
        wrapper.plan(
            metadata=MLAPlanMetadata.csr(
                qo_indptr=pinned(table.queries),
                kv_indptr=pinned(table.starts),
                kv_indices=blocks,
                kv_len_arr=pinned(table.lengths),
            ),
            num_heads=self._heads.heads,
            head_dim_ckv=self._heads.kv_lora_rank,
            head_dim_kpe=self._heads.qk_rope_head_dim,
            page_size=self._block_size,
            causal=True,
            sm_scale=self._heads.scale,
            q_data_type=self._dtype,
            kv_data_type=self._dtype,
        )
        self._run = wrapper.run

    def run(self, query: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        return self._run(query=query, kv_cache=cache)

    def _wrapper(self, captured_size: int) -> Any:
        """Return the wrapper for a captured size; 0: the one without a graph."""
        from flashinfer.mla import BatchMLAPagedAttentionWrapper

        if captured_size not in self._wrappers:
            graph = {}
            if captured_size:
                buffers = self._tables.buffers(captured_size)
                graph = {
                    "use_cuda_graph": True,
                    "qo_indptr": buffers["queries"],
                    "kv_indptr": buffers["starts"],
                    "kv_indices": buffers["blocks"],
                    "kv_len_arr": buffers["lengths"],
                }
            self._wrappers[captured_size] = BatchMLAPagedAttentionWrapper(
                self._workspace, backend=_backend(self._workspace.device), **graph
            )
        return self._wrappers[captured_size]
