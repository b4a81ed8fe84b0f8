"""Check whether FlashInfer can compute a model's attention on a GPU."""

import torch

from deepseek_server.attention.base import GroupedHeads, Heads, LatentHeads
from deepseek_server.kernels.archs import OLDEST
from deepseek_server.kernels.availability import lacking
from deepseek_server.kernels.required import (
    COMMON,
    Dtype,
    Grouped,
    Latent,
    Shape,
    attention_kernels,
    unknown,
)

DTYPES: dict[torch.dtype, Dtype] = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
# The kernels for latents split the heads of tokens into tiles of this size or half of it.
LATENT_TILE = 128


def unsuitable(heads: Heads, dtype: torch.dtype, device: torch.device) -> str:
    """Return the reason why FlashInfer cannot serve a model here, "" if it can."""
    if device.type != "cuda":
        return "it needs an NVIDIA GPU"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        return "it needs a GPU of the Ampere generation or a newer one"
    if dtype not in DTYPES:
        return f"it computes in float16 or bfloat16, not {dtype}".replace("torch.", "")
    shape = shape_of(heads)
    if reason := unknown(shape):
        return reason
    if isinstance(heads, LatentHeads) and LATENT_TILE % heads.heads:
        return f"it has no kernel for {heads.heads} heads over a latent"
    return lacking(attention_kernels(shape, DTYPES[dtype], capability) | COMMON, capability)


def shape_of(heads: Heads) -> Shape:
    """Return the shape of a model's heads that selects kernels."""
    if isinstance(heads, LatentHeads):
        return Latent(heads.kv_lora_rank, heads.qk_rope_head_dim)
    return grouped_shape(heads)


def grouped_shape(heads: GroupedHeads) -> Grouped:
    """Return the same for grouped-query attention."""
    return Grouped(heads.dim, heads.heads // heads.kv_heads)
