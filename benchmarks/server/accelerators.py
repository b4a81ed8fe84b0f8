"""Peak rates of accelerators, from their data sheets or measured on this machine."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.server.failures import BenchError


@dataclass(frozen=True)
class Accelerator:
    """Peak rates of a device.

    Attributes:
        name: name of the device.
        bytes_per_second: memory bandwidth.
        flops: operations per second of a bfloat16 matrix product, an addition and a
            multiplication counted as two.
        source: source of the numbers.
        flops_fp8: the same for fp8; equal to `flops` if the device has no fp8.
    """

    name: str
    bytes_per_second: float
    flops: float
    source: str
    flops_fp8: float = 0.0

    def __post_init__(self) -> None:
        if not self.flops_fp8:
            object.__setattr__(self, "flops_fp8", self.flops)


# Dense rates: half of the data sheets' headline numbers, which are for sparse matrices.
KNOWN = {
    "a100-80gb": Accelerator(
        "A100 SXM 80 GB", 2.039e12, 312e12, "NVIDIA A100 data sheet: 2,039 GB/s, 312 TFLOP/s"
    ),
    "h100": Accelerator(
        "H100 SXM",
        3.35e12,
        989e12,
        "NVIDIA H100 data sheet: 3.35 TB/s, 1,979 TFLOP/s sparse, 3,958 of FP8",
        1979e12,
    ),
    "h200": Accelerator(
        "H200 SXM",
        4.8e12,
        989e12,
        "NVIDIA H200 data sheet: 4.8 TB/s, 1,979 TFLOP/s sparse, 3,958 of FP8",
        1979e12,
    ),
    "h200-measured": Accelerator(
        "H200 SXM, measured",
        4.3e12,
        790e12,
        "a copy of 8.6 GB, read and written bytes counted, and 8192-square products of random "
        "numbers, with PyTorch 2.11; FP8 taken to be twice that",
        2 * 790e12,
    ),
    "l4": Accelerator(
        "L4",
        300e9,
        121e12,
        "NVIDIA L4 data sheet: 300 GB/s, 242 TFLOP/s sparse, 485 of FP8",
        242.5e12,
    ),
    "l40s": Accelerator(
        "L40S",
        864e9,
        362e12,
        "NVIDIA L40S data sheet: 864 GB/s, 733 TFLOP/s sparse, 1,466 of FP8",
        733e12,
    ),
}

COPY_BYTES = 2**32
SIDE = 8192
REPEATS = 10


def find(name: str) -> Accelerator:
    """Return an accelerator by name; `here` measures the GPU of this machine.

    Raises:
        BenchError: the name is unknown, or there is no GPU to measure.
    """
    if name == "here":
        # A separate process, so that its end frees the GPU's memory.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(measure).result()
    if name not in KNOWN:
        names = ", ".join(KNOWN)
        raise BenchError(f"unknown accelerator {name!r}: write here, or one of {names}")
    return KNOWN[name]


def measure() -> Accelerator:
    """Measure a large copy and a large matrix product on the GPU of this machine.

    Raises:
        BenchError: there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise BenchError(
            "no GPU is visible on this machine: name an accelerator with --accelerator"
        )
    flops = 2 * SIDE**3 / _product_seconds()
    eight_bits = torch.cuda.get_device_capability() >= (8, 9)
    return Accelerator(
        torch.cuda.get_device_name(),
        2 * COPY_BYTES / _copy_seconds(),
        flops,
        "measured here: a copy, and a matrix product of random numbers"
        + ("; FP8 taken to be twice that" if eight_bits else ""),
        2 * flops if eight_bits else 0.0,
    )


def _copy_seconds() -> float:
    import torch

    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    copy = torch.empty_like(source)
    return _seconds(lambda: copy.copy_(source))


def _product_seconds() -> float:
    import torch

    # Random numbers, because a GPU is faster on zeros, which need less power.
    factor = torch.randn(SIDE, SIDE, dtype=torch.bfloat16, device="cuda")
    product = torch.empty_like(factor)
    return _seconds(lambda: torch.matmul(factor, factor, out=product))


def _seconds(work: Callable[[], object]) -> float:
    """Return the mean seconds of a piece of work on the GPU."""
    import torch

    for _ in range(3):
        work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(REPEATS):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / REPEATS
