"""Ahead-of-time compilation of our own kernels: Triton's cache, filled without a GPU.

Triton caches compiled kernels in a directory, by a hash of the kernel's source, its argument types
and the GPU's generation. Launching every kernel once with a fake driver of such a GPU fills the
directory, so exactly those kernels are compiled ahead that will be launched.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.cache import FileCacheManager
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from deepseek_server.kernels.archs import Arch
from deepseek_server.kernels.required import Dtype
from deepseek_server.kernels.triton import fp8, mixture
from deepseek_server.kernels.triton.fp8_format import BLOCK, FP8

log = logging.getLogger(__name__)

# Number of experts of V2-Lite, and of V2 (160) and V3, rounded up to powers of two as in the
# kernels.
EXPERTS = (64, 256)
# Row widths that select different kernels: whole blocks of 64, or of 128.
WIDTHS = (64, 128)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
WARP = 32
# Files that are needed to launch a kernel; the others are intermediate results of the compiler.
_LOADED = (".cubin", ".json")


def folder(out: Path) -> Path:
    """Return the directory of our own kernels in a directory of compiled kernels."""
    return out / "triton" / "cache"


def compile_ahead(archs: Iterable[Arch], dtypes: Iterable[Dtype], out: Path) -> int:
    """Compile every kernel that the experts of a supported family need.

    Args:
        archs: GPU architectures to compile for.
        dtypes: Types to compile for.
        out: The directory of compiled kernels.

    Returns:
        The number of kernels.
    """
    with knobs.cache.scope():
        knobs.cache.dir = str(folder(out))
        for arch in archs:
            with _pretending(arch):
                for dtype in dtypes:
                    _launch_all(DTYPES[dtype], eight_bits=arch.capability == (9, 0))
    for file in folder(out).glob("*/*"):
        if file.suffix not in _LOADED:
            file.unlink()
    return sum(1 for _ in folder(out).glob("*/*.cubin"))


def _launch_all(dtype: torch.dtype, *, eight_bits: bool) -> None:
    for experts in EXPERTS:
        for width in WIDTHS:
            gate_up = torch.empty(experts, 2 * width, BLOCK, dtype=dtype)
            mixture.warm(gate_up, torch.empty(experts, BLOCK, width, dtype=dtype))
        if eight_bits:
            stack = torch.empty(experts, BLOCK, BLOCK, dtype=FP8)
            for powers in (False, True):
                fp8.warm(stack, torch.empty(experts, 1, 1), dtype, powers)


class _Pretended:
    """A fake driver for an absent GPU, with the methods that compilation needs."""

    def __init__(self, arch: Arch) -> None:
        self._number = 10 * arch.major + arch.minor

    def get_current_device(self) -> int:
        """Return a different number for each architecture: Triton caches kernels by device."""
        return self._number

    def get_current_stream(self, device: int) -> int:
        """Return a dummy stream."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return the target of the compilation."""
        return GPUTarget("cuda", self._number, WARP)


@contextmanager
def _pretending(arch: Arch) -> Iterator[None]:
    """Compile launched kernels for a GPU without running them."""
    compiling = partialmethod(_compile, run=JITFunction.run)
    pretended = patch.object(driver, "_active", _Pretended(arch))  # to reset it, Triton wants a GPU
    with pretended, patch.object(JITFunction, "run", compiling):
        yield


def _compile(self: Any, *args: Any, run: Any, **options: Any) -> Any:
    return run(self, *args, **{**options, "warmup": True})


def use(out: Path) -> None:
    """Make Triton search the kernels of a directory before it compiles one."""
    if folder(out).is_dir():
        knobs.cache.manager_class = type("Found", (_Cache,), {"ahead": folder(out)})


class _Cache(FileCacheManager):  # type: ignore[misc]  # not typed
    """Triton's cache, with a read-only directory that is searched first."""

    ahead: Path

    def __init__(self, key: str, override: bool = False, dump: bool = False) -> None:
        super().__init__(key, override, dump)
        self._found = self.ahead / key

    def get_group(self, filename: str) -> dict[str, str] | None:
        """Return a group of files by their present paths, even if the directory was moved."""
        listed = self._found / f"__grp__{filename}"
        if not listed.exists():
            group: dict[str, str] | None = super().get_group(filename)
            return group
        names = json.loads(listed.read_text())["child_paths"]
        return {name: str(self._found / name) for name in names if Path(name).suffix in _LOADED}
