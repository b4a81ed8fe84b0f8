"""FlashInfer's kernels that a model needs on a GPU."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from deepseek_server.kernels.archs import Arch, Capability

# Sizes that FlashInfer has kernels for: values of a head, and widths of a latent and its rotated
# part.
HEAD_DIMS = (64, 128, 256)
LATENTS = ((512, 64),)

# Two generations of FlashInfer's attention: fa3 uses instructions that only Hopper has.
Backend = Literal["fa2", "fa3"]
Dtype = Literal["bfloat16", "float16"]
HOPPER = 9

# From this number of query heads per KV head on, tensor cores are faster in decoding.
TENSOR_CORE_GROUP = 4


@dataclass(frozen=True)
class Grouped:
    """Grouped-query attention.

    Attributes:
        dim: Values of a head.
        group: Query heads per KV head.
    """

    dim: int
    group: int

    @property
    def tensor_cores(self) -> bool:
        """Whether decode tokens use the prefill kernel, which runs on tensor cores."""
        return self.group >= TENSOR_CORE_GROUP


@dataclass(frozen=True)
class Latent:
    """Absorbed latent attention.

    Attributes:
        kv_lora_rank: Width of the latent.
        qk_rope_head_dim: Width of the rotated part of the key.
    """

    kv_lora_rank: int
    qk_rope_head_dim: int


Shape = Grouped | Latent

# The heads of every family on the paged cache, by model_type. From the config.json of the models:
# DeepSeek-LLM and -Coder have one query head per KV head, their larger ones 7 and 8;
# R1-Distill-Llama 4 and 8, R1-Distill-Qwen 5 to 7, R1-0528-Qwen3 4.
FAMILIES: dict[str, tuple[Shape, ...]] = {
    "deepseek_v2": (Latent(512, 64),),
    "deepseek_v3": (Latent(512, 64),),
    "deepseek_v32": (Latent(512, 64),),
    "llama": (Grouped(128, 1), Grouped(128, 4), Grouped(128, 7), Grouped(128, 8)),
    "qwen2": (Grouped(128, 5), Grouped(128, 6), Grouped(128, 7)),
    "qwen3": (Grouped(128, 4),),
}

Purpose = Literal["decode", "prefill", "latent", "norm", "gate", "rope", "sampling"]


@dataclass(frozen=True, order=True)
class Kernel:
    """One library of FlashInfer.

    Attributes:
        purpose: Attention of decode tokens, of chunks, or over latents; or another operator.
        backend: Generation of the attention kernel; empty if there is only one.
        dtype: Type of queries, cache and result; empty if one library serves all types.
        dims: Values of a head, or widths of a latent and its rotated part.
    """

    purpose: Purpose
    backend: Backend | Literal[""] = ""
    dtype: Dtype | Literal[""] = ""
    dims: tuple[int, ...] = ()

    def __str__(self) -> str:
        return " ".join(
            filter(None, (self.purpose, self.backend, *map(str, self.dims), self.dtype))
        )


SAMPLING = Kernel("sampling")  # top-k and top-p
# Kernels that every model with FlashInfer's attention also uses (models.layers.fused).
COMMON = frozenset({Kernel("norm"), Kernel("gate"), Kernel("rope"), SAMPLING})


def unknown(shape: Shape) -> str:
    """Return the reason why FlashInfer cannot compute such attention, "" if it can."""
    if isinstance(shape, Latent):
        if (shape.kv_lora_rank, shape.qk_rope_head_dim) in LATENTS:
            return ""
        return f"it has no kernel for latents of {shape.kv_lora_rank} + {shape.qk_rope_head_dim} values"
    return "" if shape.dim in HEAD_DIMS else f"it has no kernel for heads of {shape.dim} values"


def backend_of(capability: Capability) -> Backend:
    """Return the generation of attention kernels that is fastest on a GPU."""
    return "fa3" if capability[0] == HOPPER else "fa2"


def attention_kernels(shape: Shape, dtype: Dtype, capability: Capability) -> frozenset[Kernel]:
    """Return the kernels that attention over such heads needs on a GPU."""
    backend = backend_of(capability)
    if isinstance(shape, Latent):
        return frozenset(
            {Kernel("latent", backend, dtype, (shape.kv_lora_rank, shape.qk_rope_head_dim))}
        )
    dims = (shape.dim,)
    chunks = Kernel("prefill", backend, dtype, dims)
    if shape.tensor_cores:
        # For decode tokens FlashInfer uses the older generation, on Hopper too.
        return frozenset({chunks, Kernel("prefill", "fa2", dtype, dims)})
    return frozenset({chunks, Kernel("decode", "", dtype, dims)})


def all_kernels(archs: Iterable[Arch], dtypes: Iterable[Dtype]) -> tuple[Kernel, ...]:
    """Return the kernels that any family needs on any of these GPUs, in a fixed order."""
    archs, dtypes = tuple(archs), tuple(dtypes)
    kernels = {
        kernel
        for arch in archs
        for shapes in FAMILIES.values()
        for shape in shapes
        for dtype in dtypes
        for kernel in attention_kernels(shape, dtype, arch.capability)
    }
    return tuple(sorted(kernels | COMMON))
