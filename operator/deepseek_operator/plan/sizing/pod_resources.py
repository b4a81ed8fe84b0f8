"""What a pod asks of its node beside GPUs: CPU, memory, shared memory, room for the weights.

Requests and no limits: a pod without requests is the first to be evicted where memory runs short,
and may be put where there is none; a limit on CPU slows a server down that could be quick, and one
on memory ends it where a node would have had more.
"""

from dataclasses import dataclass

from deepseek_operator.catalog.models import Model

GIB = 2**30

# Measured with a tiny model on a CPU (torch 2.15, 2026-11-25): 0.4 GiB for the HTTP process and
# 0.5 GiB for the one that computes, beside its cache.
SERVER_BYTES = GIB
# On the host for every GPU: 1 GiB for torch, CUDA and NCCL (torch 2.11, two H100, 2026-11-25), the
# rest for transformers, pinned buffers and tensors on their way.
BYTES_PER_GPU = 2 * GIB
# On a CPU the cache of running requests takes as much (models/capacity.py of the model server).
CPU_CACHE_BYTES = GIB
# Where GPUs can't reach each other directly, NCCL passes data through /dev/shm, with older drivers
# by files in it. Two H100 so restricted took 74 MiB with 4 channels (2026-11-25), which is more than
# the 64 MiB that a container has by default; at most 32 channels make 300 MiB for each GPU, and
# more neighbours some more.
SHM_BYTES_PER_GPU = GIB
# Every GPU has a process that launches its kernels and must never wait for a core.
MILLICORES_PER_GPU = 1000
MILLICORES_ON_CPU = 1000
UNKNOWN_MILLICORES = 100
# Room for a download: the files themselves, and a quarter more for what is half there; beside that
# compiled kernels and odds and ends. A pod that takes more than the limit is evicted, so there is
# room in it for another revision, and for a catalogue that is wrong about a size.
DOWNLOAD_SHARE, DOWNLOAD_REST = 1.25, 4 * GIB
DOWNLOAD_LIMIT = 2


@dataclass(frozen=True)
class Needs:
    """What a pod asks of its node.

    Attributes:
        millicores: Thousandths of a CPU that it is promised.
        memory: Bytes of memory that it is promised, shared memory included.
        shm: Bytes that /dev/shm may grow to; 0: it stays as the container runtime makes it.
        download: Bytes of disk that it is promised for what is downloaded; 0: nothing is, or nobody
            knows how much.
    """

    millicores: int
    memory: int
    shm: int = 0
    download: int = 0

    @property
    def download_limit(self) -> int:
        """Bytes of disk that a download may take; 0: as many as there are."""
        return DOWNLOAD_LIMIT * self.download


def needs(
    model: Model | None, gpus: int, bytes_per_parameter: int, downloads: bool, pods: int = 1
) -> Needs:
    """What a pod asks of its node.

    Args:
        model: The model, None where its size is unknown.
        gpus: GPUs of the pod; each has a process of its own.
        bytes_per_parameter: In memory, for a model that runs on the CPU.
        downloads: Whether the pod downloads the weights itself.
        pods: Pods that share the model, where it runs on the CPU.
    """
    download = (
        int(model.weight_bytes * DOWNLOAD_SHARE) + DOWNLOAD_REST if model and downloads else 0
    )
    if gpus:
        shm = gpus * SHM_BYTES_PER_GPU if gpus > 1 else 0
        # Not the weights: they pass through the page cache, which the kernel takes back.
        return Needs(
            gpus * MILLICORES_PER_GPU, SERVER_BYTES + gpus * BYTES_PER_GPU + shm, shm, download
        )
    if model is None:
        # It may be tiny, and a tiny one must find a place everywhere.
        return Needs(UNKNOWN_MILLICORES, SERVER_BYTES + CPU_CACHE_BYTES)
    weights = model.parameters * bytes_per_parameter // pods
    return Needs(MILLICORES_ON_CPU, SERVER_BYTES + CPU_CACHE_BYTES + weights, download=download)
