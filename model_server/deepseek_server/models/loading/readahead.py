"""Read-ahead of a model's files into the page cache.

A worker process imports its libraries for longer than a fast disk takes to read a small model. So
the files are read once in the meantime, into the kernel's page cache. This happens only if there is
plenty of memory: files that are evicted before they are needed would be read in vain.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from deepseek_server.resources import memory_available

log = logging.getLogger(__name__)

_THREADS = 4
_PIECE = 16 * 2**20
_SHARE = 0.5  # of the available memory


def readahead(files: Sequence[Path]) -> None:
    """Start to read files in the background, if they take at most half of the available memory."""
    total = sum(file.stat().st_size for file in files)
    if total > _SHARE * memory_available():
        return
    pieces = [(file, start) for file in files for start in range(0, file.stat().st_size, _PIECE)]
    for first in range(_THREADS):
        threading.Thread(
            target=_read, args=(pieces[first::_THREADS],), name="readahead", daemon=True
        ).start()


def _read(pieces: Sequence[tuple[Path, int]]) -> None:
    buffer = bytearray(_PIECE)
    try:
        for file, start in pieces:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.preadv(descriptor, [buffer], start)
            finally:
                os.close(descriptor)
    except OSError as error:  # the loader reports it with more context
        log.debug("reading ahead failed: %s", error)
