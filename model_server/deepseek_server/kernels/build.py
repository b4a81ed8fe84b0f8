"""Compilation of FlashInfer's kernels and our own; needs no GPU."""

import logging
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from deepseek_server.errors import PermanentError
from deepseek_server.kernels import toolkit
from deepseek_server.kernels.aot import compile_ahead
from deepseek_server.kernels.archs import Arch
from deepseek_server.kernels.launcher import compile_launcher
from deepseek_server.kernels.required import Dtype, Kernel, all_kernels
from deepseek_server.kernels.specs import Compiled, installed, spec_of, write_record
from deepseek_server.resources import cpus, memory_available

log = logging.getLogger(__name__)

# Peak memory of one compiler process: 3.6 GB for FlashInfer 0.7's Hopper kernels (nvcc 13.0).
JOB_BYTES = 4 * 2**30
ERROR_LINES = 30
# Strip symbols, and bind functions lazily, because FlashInfer's libraries refer to functions for
# other head sizes that are not compiled.
LINK_FLAGS = "-s -Wl,-z,lazy"


def build(
    archs: Iterable[Arch], dtypes: Iterable[Dtype], out: Path | None, workspace: Path
) -> None:
    """Compile the kernels of all supported families and install them for FlashInfer.

    Args:
        archs: GPU architectures to compile for; a library contains code for all of them.
        dtypes: Types to compile for.
        out: The directory of the libraries; None for the one where FlashInfer looks for them.
        workspace: The directory of sources and object files; existing ones are reused.

    Raises:
        PermanentError: a tool is missing or failed; states the remedy.
    """
    archs, dtypes = tuple(archs), tuple(dtypes)
    cuda_home = toolkit.find() or toolkit.assemble(toolkit.wheels(), workspace / "toolkit")
    cuda = toolkit.version(cuda_home)
    _check_versions(cuda, torch.version.cuda)
    jobs = max(1, min(cpus(), memory_available() // JOB_BYTES))
    _set_environment(archs, cuda_home, workspace, jobs)

    kernels = all_kernels(archs, dtypes)
    version, specs = _specs(kernels)
    log.info(
        "compiling %d libraries of FlashInfer %s for %s with nvcc %s, %d at a time",
        *(len(specs), version, " ".join(map(str, archs)), cuda, jobs),
    )
    began = time.monotonic()
    _compile(specs)
    out = out or installed()
    size = sum(_install(spec, out) for spec in specs)
    compile_launcher(out, toolkit.stub(workspace / "driver"))
    log.info("compiled %d Triton kernels", compile_ahead(archs, dtypes, out))
    write_record(out, Compiled(archs, dtypes, version, cuda))
    log.info("compiled in %d s: %.1f MB in %s", time.monotonic() - began, size / 1e6, out)


def _check_versions(cuda: str, torch_cuda: str | None) -> None:
    if torch_cuda and cuda.partition(".")[0] != torch_cuda.partition(".")[0]:
        raise PermanentError(
            f"nvcc has CUDA version {cuda}, but torch uses the libraries of CUDA {torch_cuda}: "
            f"install a compiler of CUDA {torch_cuda.partition('.')[0]}"
        )


def _set_environment(archs: tuple[Arch, ...], cuda_home: Path, workspace: Path, jobs: int) -> None:
    """Set the variables that FlashInfer and Triton read when they are imported."""
    os.environ.pop("FLASHINFER_DISABLE_JIT", None)
    os.environ |= {
        "CUDA_HOME": str(cuda_home),
        "FLASHINFER_CUDA_ARCH_LIST": " ".join(map(str, archs)),
        "FLASHINFER_WORKSPACE_BASE": str(workspace),
        "FLASHINFER_EXTRA_LDFLAGS": LINK_FLAGS,
        "MAX_JOBS": str(jobs),
        "TRITON_CACHE_DIR": str(workspace / "triton"),
    }


def _specs(kernels: Iterable[Kernel]) -> tuple[str, list[Any]]:
    """Return FlashInfer's version, and its JitSpec of each kernel."""
    try:
        import flashinfer
    except ImportError as error:
        raise PermanentError(
            f"FlashInfer cannot be imported ({error}): pip install 'deepseek-operator[kernels]'"
        ) from error
    return flashinfer.__version__, [spec_of(kernel) for kernel in kernels]


def _compile(specs: list[Any]) -> None:
    from flashinfer.jit import core

    try:
        # Include kernels that are already installed: they may be for other GPUs.
        core.build_jit_specs(specs, skip_prebuilt=False)
    except RuntimeError as error:
        output = "\n".join(str(error).splitlines()[-ERROR_LINES:])
        raise PermanentError(
            f"a kernel failed to compile; last lines of the output:\n{output}"
        ) from error


def _install(spec: Any, out: Path) -> int:
    """Copy a library to where FlashInfer looks for it; return its size in bytes."""
    library = Path(spec.jit_library_path)
    folder = out / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(library, folder / library.name)
    return library.stat().st_size
