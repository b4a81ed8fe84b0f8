"""Copy of FlashInfer with its compiled kernels and without its sources, for an image."""

import importlib
import py_compile
import shutil
import sys
from pathlib import Path

from deepseek_server.errors import PermanentError

# FlashInfer's C++ sources: hundreds of megabytes.
_DATA = "flashinfer/data"
# Parts of it to keep: the libraries, and the templates from which it derives a library's name.
_KEPT = ("aot/*", "csrc/batch_*")
_IMPORTED = ("flashinfer", "flashinfer.mla", "flashinfer.norm", "flashinfer.rope")


def pack(target: Path) -> None:
    """Copy the directory of packages in which FlashInfer is installed.

    Only modules that a server imports get bytecode, because FlashInfer also has a hundred megabytes
    of Python. The bytecode is unchecked, because images change the dates of files.

    Args:
        target: The target directory; must be empty or absent.

    Raises:
        PermanentError: FlashInfer is not installed, or the target is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise PermanentError(f"{target} is not empty: name a new directory")
    try:
        for name in _IMPORTED:
            importlib.import_module(name)
    except ImportError as error:
        raise PermanentError(f"FlashInfer cannot be imported ({error}): install it") from error
    site = Path(str(sys.modules["flashinfer"].__file__)).parents[1]
    data = site / _DATA
    shutil.copytree(
        site,
        target,
        dirs_exist_ok=True,
        ignore=lambda folder, names: names if Path(folder) == data else {"__pycache__", "bin"},
    )
    for pattern in _KEPT:
        for path in data.glob(pattern):
            _copy(path, target / path.relative_to(site))
    for file in _imported_from(site):
        copy = target / file.relative_to(site)
        py_compile.compile(
            str(copy),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _imported_from(site: Path) -> list[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [Path(f) for f in files if f and f.endswith(".py") and Path(f).is_relative_to(site)]
