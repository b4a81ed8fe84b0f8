"""Reading of sparse files without their holes."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


def chunks(file: Path, first: int = 0) -> Iterator[bytes | int]:
    """Yield a file from an offset on: its data in pieces, and its holes as their lengths."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while first < size:
            data = _next_data(stream.fileno(), first, size)
            if data > first:
                yield data - first
            stream.seek(data)
            hole = os.lseek(stream.fileno(), data, os.SEEK_HOLE) if data < size else size
            stream.seek(data)
            while data < hole:
                chunk = stream.read(min(CHUNK_BYTES, hole - data))
                yield chunk
                data += len(chunk)
            first = data


def _next_data(descriptor: int, first: int, size: int) -> int:
    try:
        return os.lseek(descriptor, first, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # only a hole up to the end
            raise
        return size
