"""Selection of the attention backend: FlashInfer where it is supported, else torch."""

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
    """Return the class of the attention backend; for sparse attention, that of its dense part.

    Raises:
        PermanentError: the backend requested by name cannot serve this model here; states the
            cause.
    """
    if isinstance(heads, SparseHeads):
        log.info("attention: torch for contexts longer than %d tokens", heads.topk)
    if wanted == "sdpa":
        log.info("attention: torch, as configured")
        return SdpaAttention
    reason = unsuitable(heads, dtype, device)
    if not reason:
        log.info("attention: FlashInfer")
        return FlashInferAttention
    if wanted == "flashinfer":
        raise PermanentError(
            f"attention is set to flashinfer, but {reason}: set it to auto or sdpa"
        )
    if device.type == "cuda":
        log.warning("attention: torch, which is far slower than FlashInfer: %s", reason)
    else:
        log.info("attention: torch")
    return SdpaAttention


def create_attention(
    backend: type[SdpaAttention] | type[FlashInferAttention],
    heads: Heads,
    size: CacheSize,
    dtype: torch.dtype,
    device: torch.device,
) -> Attention:
    """Return attention with its own cache.

    Args:
        backend: The backend of dense attention.
        heads: The model's heads.
        size: Size of the cache.
        dtype: Type of the cached values.
        device: Device of the model.
    """
    dense = backend(heads, size, dtype, device)
    if isinstance(heads, SparseHeads):
        return SparseAttention(heads, dense, dtype, device)
    return dense
