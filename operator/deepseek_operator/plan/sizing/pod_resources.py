"""Resource requests of a pod besides GPUs: CPU, memory, shared memory, disk for the weights.

Requests without limits: a pod without requests is evicted first under memory pressure, and may be
scheduled to a node without free memory; a CPU limit throttles a server, and a memory limit kills it on
a node that has more memory.
"""

from dataclasses import dataclass

from deepseek_operator.catalog.models import Model

GIB = 2**30

# Measured with a tiny model on a CPU (torch 2.15, 2026-11-25): 0.4 GiB for the HTTP process and
# 0.5 GiB for the engine process, without its cache.
SERVER_BYTES = GIB
# On the host for every GPU: 1 GiB for torch, CUDA and NCCL (torch 2.11, two H100, 2026-11-25), the
# rest for transformers, pinned buffers and tensors in transfer.
BYTES_PER_GPU = 2 * GIB
# On a CPU the cache of running requests takes as much (models/capacity.py of the model server).
CPU_CACHE_BYTES = GIB
# Without peer-to-peer access between GPUs, NCCL transfers data through /dev/shm, with older drivers
# through files in it. Two H100 without it took 74 MiB with 4 channels (2026-11-25), more than the
# 64 MiB of a container by default; the maximum of 32 channels takes 300 MiB for each GPU, and more
# peers take somewhat more.
SHM_BYTES_PER_GPU = GIB
# Every GPU has a process that launches its kernels and must not wait for a core.
MILLICORES_PER_GPU = 1000
MILLICORES_ON_CPU = 1000
UNKNOWN_MILLICORES = 100
# Disk for a download: the files, a quarter more for partial files, and a fixed part for compiled
# kernels and other caches. A pod above the limit is evicted, so the limit leaves room for another
# revision and for an error in the catalogue.
DOWNLOAD_SHARE, DOWNLOAD_REST = 1.25, 4 * GIB
DOWNLOAD_LIMIT = 2


@dataclass(frozen=True)
class Needs:
    """The resource requests of a pod.

    Attributes:
        millicores: Requested CPU in thousandths.
        memory: Requested memory in bytes, shared memory included.
        shm: Size of /dev/shm in bytes; 0: the container runtime's default.
        download: Requested disk in bytes for downloads; 0: no download, or unknown size.
    """

    millicores: int
    memory: int
    shm: int = 0
    download: int = 0

    @property
    def download_limit(self) -> int:
        """Disk limit of a download in bytes; 0: no limit."""
        return DOWNLOAD_LIMIT * self.download


def needs(
    model: Model | None, gpus: int, bytes_per_parameter: int, downloads: bool, pods: int = 1
) -> Needs:
    """Return the resource requests of a pod.

    Args:
        model: The model, None if its size is unknown.
        gpus: GPUs of the pod; each has a process of its own.
        bytes_per_parameter: Bytes in memory, for a model that runs on the CPU.
        downloads: Whether the pod downloads the weights itself.
        pods: Pods that share the model, if it runs on the CPU.
    """
    download = (
        int(model.weight_bytes * DOWNLOAD_SHARE) + DOWNLOAD_REST if model and downloads else 0
    )
    if gpus:
        shm = gpus * SHM_BYTES_PER_GPU if gpus > 1 else 0
        # Without the weights: they pass through the page cache, which the kernel reclaims.
        return Needs(
            gpus * MILLICORES_PER_GPU, SERVER_BYTES + gpus * BYTES_PER_GPU + shm, shm, download
        )
    if model is None:
        # The model may be tiny, and must then fit on any node.
        return Needs(UNKNOWN_MILLICORES, SERVER_BYTES + CPU_CACHE_BYTES)
    weights = model.parameters * bytes_per_parameter // pods
    return Needs(MILLICORES_ON_CPU, SERVER_BYTES + CPU_CACHE_BYTES + weights, download=download)
