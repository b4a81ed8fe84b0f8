"""A CUDA toolkit in the layout that FlashInfer expects, assembled from Python wheels.

NVIDIA's wheels contain the compiler and the headers, but spread over packages, with library names
that a linker does not find, and without the driver's library.
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
    """Return the root of an installed toolkit: CUDA_HOME, or that of the nvcc on PATH."""
    if home := environment.get("CUDA_HOME"):
        return Path(home) if (Path(home) / "bin/nvcc").exists() else None
    nvcc = shutil.which("nvcc", path=environment.get("PATH"))
    if nvcc:
        return Path(nvcc).resolve().parents[1]
    usual = Path("/usr/local/cuda")
    return usual if (usual / "bin/nvcc").exists() else None


def wheels() -> tuple[Path, ...]:
    """Return the directories of installed wheels that contain parts of a toolkit."""
    try:
        from nvidia import cu13
    except ImportError:
        return ()
    return tuple(map(Path, cu13.__path__))


def assemble(parts: Iterable[Path], root: Path) -> Path:
    """Create a toolkit of links to its parts.

    Args:
        parts: Directories of wheels; the first one wins if two contain the same file.
        root: The root of the toolkit; existing files are replaced.

    Returns:
        `root`.

    Raises:
        PermanentError: the parts contain no nvcc, or there is no C++ compiler for the stub.
    """
    shutil.rmtree(root, ignore_errors=True)
    libraries = root / "lib64"
    for part in parts:
        for folder in _FOLDERS:
            _link(part / folder, root / folder)
        _link(part / "lib", libraries)
    if not (root / "bin/nvcc").exists():
        raise PermanentError(
            "nvcc is not installed: pip install 'deepseek-operator[kernels]', or set CUDA_HOME to "
            "a CUDA toolkit"
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
    """Create an empty libcuda in a directory; the real one comes with the GPU driver at run time.

    Raises:
        PermanentError: there is no C++ compiler to link it.
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
    """Return the version of a toolkit's compiler, such as 13.2.

    Raises:
        PermanentError: the compiler cannot be run.
    """
    nvcc = toolkit / "bin/nvcc"
    try:
        result = subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PermanentError(f"{nvcc} cannot be run ({error}): reinstall it") from error
    found = re.search(r"release (\d+\.\d+)", result.stdout)
    if not found:
        raise PermanentError(f"{nvcc} does not print its version: reinstall it")
    return found[1]
