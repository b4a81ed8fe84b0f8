"""Triton's launcher, compiled ahead: the one piece of C for which Triton wants a compiler at run time."""

import logging
import shutil
import sysconfig
from pathlib import Path

from deepseek_server.errors import PermanentError
from deepseek_server.kernels.specs import installed

log = logging.getLogger(__name__)

# As Triton calls it.
_NAME = "cuda_utils"


def library(folder: Path) -> Path:
    """Where the launcher is in a folder of compiled kernels."""
    return folder / "triton" / f"{_NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"


def compile_launcher(out: Path, drivers: Path) -> None:
    """Compile the launcher of the installed Triton.

    Args:
        out: A folder of compiled kernels.
        drivers: A folder with a libcuda.so.1 to link with.

    Raises:
        PermanentError: it cannot be compiled; says why.
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
    """Whether Triton can launch kernels here; says in the log why not.

    Triton is given the kernels that were compiled ahead, and the launcher if there is no compiler.
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
            "kernels in Triton cannot run, because there is neither %s nor a C compiler: build the "
            "image with CUDA_ARCHS",
            path,
        )
        return False
    knobs.build.impl = _found
    return True


def _found(name: str, *_: object) -> str:
    """The place of a library that Triton wants to be compiled."""
    if name != _NAME:
        raise PermanentError(
            f"Triton wants to compile {name}, which takes a C compiler: install gcc"
        )
    return str(library(installed()))
