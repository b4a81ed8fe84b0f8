"""Start time of a server compared with the time to read only its weights.

Both start with the weights on disk only: the files are dropped from the page cache first.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

READERS = 8
PIECE = 16 * 2**20


def weights(directory: Path) -> list[Path]:
    """Return the files with a model's weights."""
    return sorted(directory.glob("*.safetensors"))


def forget(files: list[Path]) -> None:
    """Drop files from the page cache, as far as an unprivileged user can."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # dirty pages cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read(files: list[Path], step: Callable[[int], object] = lambda _: None) -> float:
    """Return the seconds to read files into memory, several pieces at once."""
    pieces = [(file, start) for file in files for start in range(0, file.stat().st_size, PIECE)]
    started = time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        for count in pool.map(lambda piece: _read(*piece), pieces):
            step(count)
    return time.monotonic() - started


def _read(file: Path, start: int) -> int:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return len(os.pread(descriptor, PIECE, start))
    finally:
        os.close(descriptor)
