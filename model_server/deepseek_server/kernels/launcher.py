"""Triton's launcher, compiled ahead of time: the C code that Triton compiles at run time."""

import logging
import shutil
import sysconfig
from pathlib import Path

from deepseek_server.errors import PermanentError
from deepseek_server.kernels.specs import installed

log = logging.getLogger(__name__)

# Triton's name of the module.
_NAME = "cuda_utils"


def library(folder: Path) -> Path:
    """Return the path of the launcher in a directory of compiled kernels."""
    return folder / "triton" / f"{_NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"


def compile_launcher(out: Path, drivers: Path) -> None:
    """Compile the launcher of the installed Triton.

    Args:
        out: The directory of compiled kernels.
        drivers: A directory with a libcuda.so.1 to link with.

    Raises:
        PermanentError: it cannot be compiled; states the cause.
    """
    from triton.backends.nvidia import driver
    from triton.runtime import build

    try:
        compiled = build.compile_so_from_file(
            src_path=str(Path(driver.__file__).with_name("driver.c")),
            name=_NAME,
            library_dirs=[str(drivers)],
            include_dirs=driver.include_dirs,
            libraries=driver.libraries,
        )
    except Exception as error:  # whatever its compiler's call raises
        raise PermanentError(
            f"Triton's launcher cannot be compiled ({error}): install gcc and Python's headers"
        ) from error
    library(out).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(compiled, library(out))


def provide() -> bool:
    """Return whether Triton can launch kernels here; log the reason if it cannot.

    Triton is set up to use the kernels that were compiled ahead of time, and the compiled launcher
    if there is no C compiler.
    """
    from triton import knobs

    from deepseek_server.kernels import aot as ahead

    try:
        folder = installed()
    except ImportError:
        folder = Path("flashinfer/data/aot")
    ahead.use(folder)
    if any(map(shutil.which, ("gcc", "clang"))):
        return True
    path = library(folder)
    if not path.exists():
        log.warning(
            "Triton kernels cannot run, because there is neither %s nor a C compiler: build the "
            "image with CUDA_ARCHS",
            path,
        )
        return False
    knobs.build.impl = _found
    return True


def _found(name: str, *_: object) -> str:
    """Return the path of a library that Triton requests to be compiled."""
    if name != _NAME:
        raise PermanentError(
            f"Triton needs a C compiler for {name}, and there is none: install gcc"
        )
    return str(library(installed()))
