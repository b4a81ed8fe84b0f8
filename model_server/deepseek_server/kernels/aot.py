"""Our own kernels compiled ahead: Triton's cache, filled without a GPU and found where it was put.

Triton keeps what it has compiled in a folder, by a hash of the kernel's source, of the kinds of its
arguments and of the GPU's generation. Launching every kernel once while Triton believes that there
is such a GPU fills the folder, so what is compiled ahead is what will be launched.
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

# Experts of V2-Lite, and of V2 (160) and V3, as the kernels count them: in powers of two.
EXPERTS = (64, 256)
# Values of a row that the kernels take two of each for: whole blocks of 128, or of 64.
WIDTHS = (64, 128)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
WARP = 32
# What is needed to launch a kernel; the other files are what it was on the way there.
_LOADED = (".cubin", ".json")


def folder(out: Path) -> Path:
    """Where our own kernels are in a folder of compiled kernels."""
    return out / "triton" / "cache"


def compile_ahead(archs: Iterable[Arch], dtypes: Iterable[Dtype], out: Path) -> int:
    """Compile every kernel that the experts of a served family need.

    Args:
        archs: GPUs to compile for.
        dtypes: Numbers to compile for.
        out: A folder of compiled kernels.

    Returns:
        How many kernels there are.
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
    """A driver of a GPU that is not there; knows as much of it as compiling takes."""

    def __init__(self, arch: Arch) -> None:
        self._number = 10 * arch.major + arch.minor

    def get_current_device(self) -> int:
        """A number for each GPU, because Triton keeps what it has compiled by device."""
        return self._number

    def get_current_stream(self, device: int) -> int:
        """Any."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """What is compiled for."""
        return GPUTarget("cuda", self._number, WARP)


@contextmanager
def _pretending(arch: Arch) -> Iterator[None]:
    """Let launched kernels be compiled for a GPU, and no further."""
    compiling = partialmethod(_compile, run=JITFunction.run)
    pretended = patch.object(driver, "_active", _Pretended(arch))  # to reset it, Triton wants a GPU
    with pretended, patch.object(JITFunction, "run", compiling):
        yield


def _compile(self: Any, *args: Any, run: Any, **options: Any) -> Any:
    return run(self, *args, **{**options, "warmup": True})


def use(out: Path) -> None:
    """Let Triton look among the kernels of a folder before it compiles one."""
    if folder(out).is_dir():
        knobs.cache.manager_class = type("Found", (_Cache,), {"ahead": folder(out)})


class _Cache(FileCacheManager):  # type: ignore[misc]  # not typed
    """Triton's cache, with a folder before it that is only read."""

    ahead: Path

    def __init__(self, key: str, override: bool = False, dump: bool = False) -> None:
        super().__init__(key, override, dump)
        self._found = self.ahead / key

    def get_group(self, filename: str) -> dict[str, str] | None:
        """The files that belong together, wherever the folder was when they were written."""
        listed = self._found / f"__grp__{filename}"
        if not listed.exists():
            group: dict[str, str] | None = super().get_group(filename)
            return group
        names = json.loads(listed.read_text())["child_paths"]
        return {name: str(self._found / name) for name in names if Path(name).suffix in _LOADED}
