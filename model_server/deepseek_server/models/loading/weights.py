"""Streaming of a checkpoint's bytes into a model's tensors.

Several threads read large ranges of the files in order, each into its own buffer, and pass them to
the device, which casts them. So the disk always has pending requests, the process never holds a
whole file in memory, and a GPU copies one range while the next is read.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from deepseek_server.distributed.sharding import matrix
from deepseek_server.errors import PermanentError
from deepseek_server.kernels.triton.fp8_format import BLOCK
from deepseek_server.models.layers.fp8 import blocks, dequantise
from deepseek_server.models.loading.stored import ELEMENT_BYTES, Stored
from deepseek_server.models.loading.weight_plan import Read
from deepseek_server.server.lifecycle import Progress

# Large enough for full disk throughput, small enough to stay partly in a CPU cache.
CHUNK_BYTES = 2**24
THREADS = 8
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def size(reads: Sequence[Read]) -> int:
    """Return the bytes that a list of reads reads from the files."""
    return sum(_bytes(read) for read in reads)


def stream(
    reads: Sequence[Read],
    tensors: Mapping[str, torch.Tensor],
    progress: Progress,
    threads: int = THREADS,
) -> None:
    """Fill tensors with the stored values, cast to their types; return when they are complete.

    Args:
        reads: The reads, from layout.reads.
        tensors: The parameters that the reads name, on their device.
        progress: Receives the bytes read so far.
        threads: Number of ranges that are read at once.

    Raises:
        PermanentError: A file cannot be read; names the file.
    """
    pieces = sorted(_pieces(reads), key=lambda read: (read.stored.file, _offset(read)))
    room = max([CHUNK_BYTES, *(_bytes(piece) for piece in pieces)])
    with _Files() as files, _single_threaded_torch(), ThreadPoolExecutor(threads) as pool:
        queue = _Queue(pieces, progress)
        workers = [
            pool.submit(_work, queue, files, tensors, room)
            for _ in range(min(threads, len(pieces)))
        ]
        for worker in workers:
            worker.result()


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Limit torch to one thread: it would start a thread pool for each of the reading threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pieces(reads: Sequence[Read]) -> Iterator[Read]:
    """Split reads into pieces of at most CHUNK_BYTES, or of a single row."""
    for read in reads:
        rows = max(1, CHUNK_BYTES // _row_bytes(read))
        for first in range(read.rows.start, read.rows.stop, rows):
            part = range(first, min(first + rows, read.rows.stop))
            yield replace(read, rows=part, at=read.at + first - read.rows.start)


def _row_bytes(read: Read) -> int:
    return matrix(read.stored.shape)[1] * ELEMENT_BYTES[read.stored.dtype]


def _bytes(read: Read) -> int:
    return len(read.rows) * _row_bytes(read)


def _offset(read: Read) -> int:
    return read.stored.offset + read.rows.start * _row_bytes(read)


class _Queue:
    """The remaining pieces, shared by the workers."""

    def __init__(self, pieces: Sequence[Read], progress: Progress) -> None:
        self._lock = threading.Lock()
        self._pieces, self._progress = iter(pieces), progress
        self._read = 0

    def take(self) -> Read | None:
        """Return the next piece, None if there are no more."""
        with self._lock:
            return next(self._pieces, None)

    def done(self, piece: Read) -> None:
        """Report that a piece was read."""
        with self._lock:
            self._read += _bytes(piece)
            self._progress.reach(self._read)

    def stop(self) -> None:
        """Drop the remaining pieces."""
        with self._lock:
            self._pieces = iter(())


class _Files(ExitStack):
    """Open files by path, closed together."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._open: dict[Path, int] = {}

    def read(self, file: Path, offset: int, memory: memoryview) -> None:
        """Fill memory with the bytes of a file from an offset on.

        Raises:
            PermanentError: the file is too short or cannot be read.
        """
        try:
            descriptor = self._descriptor(file)
            while memory:
                count = os.preadv(descriptor, [memory], offset)
                if count == 0:
                    raise PermanentError(
                        f"{file} was truncated while it was read: copy or download it again"
                    )
                memory, offset = memory[count:], offset + count
        except OSError as error:
            raise PermanentError(f"{file} cannot be read ({error.strerror})") from error

    def _descriptor(self, file: Path) -> int:
        with self._lock:
            if file not in self._open:
                self._open[file] = os.open(file, os.O_RDONLY)
                self.callback(os.close, self._open[file])
            return self._open[file]


@dataclass(frozen=True)
class _Half:
    """Buffer for one range, and the event after which the device no longer reads it."""

    memory: torch.Tensor
    free: Any


class _Worker:
    """One thread's buffers and, on a GPU, its copy stream."""

    def __init__(self, device: torch.device, room: int) -> None:
        self._device = device
        self._stream: Any = None
        cuda = device.type == "cuda"
        if cuda:
            self._stream = torch.cuda.Stream(device)
        self._halves = [
            _Half(
                torch.empty(room, dtype=torch.uint8, pin_memory=cuda),
                torch.cuda.Event() if cuda else None,
            )
            for _ in range(2 if cuda else 1)
        ]

    def copy(self, piece: Read, files: _Files, target: torch.Tensor) -> None:
        """Read a piece and start to copy it into the tensor."""
        half = self._halves[0]
        self._halves.reverse()
        if half.free is not None:
            half.free.synchronize()
        memory = half.memory[: _bytes(piece)]
        files.read(piece.stored.file, _offset(piece), memoryview(memory.numpy()))
        rows = memory.view(DTYPES[piece.stored.dtype]).view(len(piece.rows), -1)
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            rows = rows.to(self._device, non_blocking=True)
            if piece.scale is not None:
                first, scale = self._scale(piece.rows, piece.scale, files)
                rows = dequantise(rows, scale, first)
            target.copy_(rows[:, piece.columns.start : piece.columns.stop])
            if half.free is not None:
                half.free.record()

    def _scale(self, rows: range, stored: Stored, files: _Files) -> tuple[int, torch.Tensor]:
        """Return the scales of some rows, and the number of preceding rows in their first block."""
        scale = torch.empty(stored.shape, dtype=DTYPES[stored.dtype])
        files.read(stored.file, stored.offset, memoryview(scale.view(torch.uint8).numpy().ravel()))
        begin = rows.start // BLOCK
        of_rows = scale[begin : blocks(rows.stop)].float()
        return rows.start - begin * BLOCK, of_rows.to(self._device)

    def finish(self) -> None:
        """Wait until all copies are complete."""
        if self._stream is not None:
            self._stream.synchronize()


def _work(queue: _Queue, files: _Files, tensors: Mapping[str, torch.Tensor], room: int) -> None:
    try:
        device = next(iter(tensors.values())).device
        if device.type == "cuda":
            torch.cuda.set_device(device)  # a thread starts on GPU 0, which may be another rank's
        worker = _Worker(device, room)
        with torch.no_grad():
            while (piece := queue.take()) is not None:
                worker.copy(piece, files, _target(piece, tensors[piece.parameter]))
                queue.done(piece)
        worker.finish()
    except BaseException:
        queue.stop()
        raise


def _target(piece: Read, tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of a parameter that a piece fills: [rows, columns]."""
    whole = tensor if piece.index is None else tensor[piece.index]
    return whole.view(whole.shape[0], -1)[piece.at : piece.at + len(piece.rows)]
