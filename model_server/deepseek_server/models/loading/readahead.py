"""Gets a model's files into memory while nobody needs them yet.

A process that is to compute imports its libraries for longer than a fast disk takes to give a
small model. So meanwhile the files are read once, for the kernel to keep. Only where there is
plenty of memory: files that are dropped again before they are needed would be read for nothing.
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
_SHARE = 0.5  # of the memory that is available


def readahead(files: Sequence[Path]) -> None:
    """Begin to read files in the background, if they take only a part of the memory."""
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
    except OSError as error:  # whoever needs the file will say it better
        log.debug("reading ahead failed: %s", error)
