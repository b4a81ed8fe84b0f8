"""A CUDA toolkit as FlashInfer expects it, put together from Python wheels.

NVIDIA's wheels have the compiler and the headers, but scattered over packages, with libraries under
names that a linker does not look for, and without the driver's library.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from deepseek_server.errors import PermanentError

_FOLDERS = ("bin", "include", "nvvm")


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The root of a toolkit that is installed: CUDA_HOME, or that of the nvcc on PATH."""
    if home := environment.get("CUDA_HOME"):
        return Path(home) if (Path(home) / "bin/nvcc").exists() else None
    nvcc = shutil.which("nvcc", path=environment.get("PATH"))
    if nvcc:
        return Path(nvcc).resolve().parents[1]
    usual = Path("/usr/local/cuda")
    return usual if (usual / "bin/nvcc").exists() else None


def wheels() -> tuple[Path, ...]:
    """The folders of installed wheels that parts of a toolkit are in."""
    try:
        from nvidia import cu13
    except ImportError:
        return ()
    return tuple(map(Path, cu13.__path__))


def assemble(parts: Iterable[Path], root: Path) -> Path:
    """Make a toolkit of links to the parts of one.

    Args:
        parts: Folders of wheels; the first one wins where two have the same file.
        root: Where it goes; what is there is replaced.

    Returns:
        `root`.

    Raises:
        PermanentError: there is no compiler in the parts, or none for the stub here.
    """
    shutil.rmtree(root, ignore_errors=True)
    libraries = root / "lib64"
    for part in parts:
        for folder in _FOLDERS:
            _link(part / folder, root / folder)
        _link(part / "lib", libraries)
    if not (root / "bin/nvcc").exists():
        raise PermanentError(
            "nvcc is not installed: pip install 'deepseek-operator[kernels]', or set CUDA_HOME to a "
            "CUDA toolkit"
        )
    for library in libraries.glob("lib*.so.*"):
        plain = library.with_name(library.name.partition(".so.")[0] + ".so")
        if not plain.exists():
            plain.symlink_to(library.name)
    stub(libraries / "stubs")
    return root


def _link(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        link = target / path.relative_to(source)
        if not path.is_dir() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)


def stub(folder: Path) -> Path:
    """Put an empty libcuda into a folder: the real one comes with the driver of a machine's GPU.

    Raises:
        PermanentError: there is no compiler to link it with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libcuda.so.1"
    options = ["-shared", "-o", str(library), f"-Wl,-soname,{library.name}"]
    try:
        subprocess.run(["c++", *options, "-x", "c++", os.devnull], check=True, capture_output=True)
    except FileNotFoundError:
        raise PermanentError("no C++ compiler (c++) is on PATH: install g++") from None
    except subprocess.CalledProcessError as error:
        raise PermanentError(f"c++ cannot link a library: {error.stderr.decode()}") from error
    plain = folder / "libcuda.so"
    plain.unlink(missing_ok=True)
    plain.symlink_to(library.name)
    return folder


def version(toolkit: Path) -> str:
    """The version of a toolkit's compiler, such as 13.2.

    Raises:
        PermanentError: it cannot be run.
    """
    nvcc = toolkit / "bin/nvcc"
    try:
        said = subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PermanentError(f"{nvcc} cannot be run ({error}): reinstall it") from error
    found = re.search(r"release (\d+\.\d+)", said.stdout)
    if not found:
        raise PermanentError(f"{nvcc} does not say its version: reinstall it")
    return found[1]
