"""Which library computes attention: FlashInfer where it can, else torch."""

import logging
from typing import Literal

import torch

from deepseek_server.attention.base import Attention, CacheSize, Heads, SparseHeads
from deepseek_server.attention.flashinfer import FlashInferAttention
from deepseek_server.attention.requirements import unsuitable
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.attention.sparse.attention import SparseAttention
from deepseek_server.errors import PermanentError

log = logging.getLogger(__name__)

AttentionName = Literal["auto", "sdpa", "flashinfer"]


def choose(
    wanted: AttentionName, heads: Heads, dtype: torch.dtype, device: torch.device
) -> type[SdpaAttention] | type[FlashInferAttention]:
    """The class to compute attention with; of sparse attention, what is dense.

    Raises:
        PermanentError: what was asked for by name cannot serve this model here; says why.
    """
    if isinstance(heads, SparseHeads):
        log.info("attention: torch where a context is longer than %d tokens", heads.topk)
    if wanted == "sdpa":
        log.info("attention: torch, as asked for")
        return SdpaAttention
    reason = unsuitable(heads, dtype, device)
    if not reason:
        log.info("attention: FlashInfer")
        return FlashInferAttention
    if wanted == "flashinfer":
        raise PermanentError(
            f"attention flashinfer was asked for, but {reason}: use attention auto or sdpa"
        )
    if device.type == "cuda":
        log.warning("attention: torch, far slower than FlashInfer, but %s", reason)
    else:
        log.info("attention: torch")
    return SdpaAttention


def made_of(
    backend: type[SdpaAttention] | type[FlashInferAttention],
    heads: Heads,
    size: CacheSize,
    dtype: torch.dtype,
    device: torch.device,
) -> Attention:
    """Return attention with a cache of its own.

    Args:
        backend: What computes it, where it is dense.
        heads: The model's heads.
        size: Extent of the cache.
        dtype: Type of what is cached.
        device: Where the model is.
    """
    dense = backend(heads, size, dtype, device)
    if isinstance(heads, SparseHeads):
        return SparseAttention(heads, dense, dtype, device)
    return dense
