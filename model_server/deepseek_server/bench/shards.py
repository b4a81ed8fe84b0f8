"""Random weights as safetensors files, written about as fast as a disk takes them.

Drawing billions of random numbers takes minutes. So a block is drawn once, for each scale that
occurs, and a tensor is that block, begun somewhere and repeated. The block's length is a prime, so
no two rows of a tensor are alike, and no two logits tie.

The format: https://huggingface.co/docs/safetensors (a length, a JSON header, the bytes).
"""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import torch

from deepseek_server.bench.tensors import Tensor

SHARD_BYTES = 4 * 10**9
BLOCK = 4_194_301  # a prime
BYTES = 2  # of a bfloat16
ONE = b"\x80\x3f"  # as a bfloat16
SEED = 0


def write_shards(
    tensors: Iterable[Tensor],
    directory: Path,
    written: Callable[[int], object] = lambda _: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write all tensors and, if there are several files, their index.

    Args:
        tensors: what to write.
        directory: where.
        written: told of the bytes of each tensor when it is written; in any thread.
        shard_bytes: what a file holds at most, unless a single tensor is larger.
    """
    shards = _split(tensors, shard_bytes)
    blocks = _blocks({tensor.scale for shard in shards for tensor in shard})
    files = [directory / _name(number, len(shards)) for number in range(1, len(shards) + 1)]
    with ThreadPoolExecutor(min(len(shards), os.cpu_count() or 1)) as pool:
        list(pool.map(lambda file, of_file: _write(file, of_file, blocks, written), files, shards))
    if len(shards) > 1:
        _write_index(directory, files, shards)


def _split(tensors: Iterable[Tensor], shard_bytes: int) -> list[list[Tensor]]:
    shards: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.elements * BYTES > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.elements * BYTES
    return shards


def _name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _blocks(scales: set[float | None]) -> dict[float | None, memoryview]:
    """For each scale the bytes of one block of random numbers; None: of ones."""
    noise = torch.randn(BLOCK, generator=torch.Generator().manual_seed(SEED))
    blocks: dict[float | None, memoryview] = {}
    for scale in scales:
        content = bytearray(ONE * BLOCK)
        if scale is not None:
            torch.frombuffer(content, dtype=torch.bfloat16).copy_(noise * scale)
        blocks[scale] = memoryview(content)
    return blocks


def _write(
    file: Path,
    tensors: Sequence[Tensor],
    blocks: dict[float | None, memoryview],
    written: Callable[[int], object],
) -> None:
    with file.open("wb", buffering=0) as stream:
        stream.write(_header(tensors))
        for tensor in tensors:
            start = zlib.crc32(tensor.name.encode()) % BLOCK
            _repeat(stream, blocks[tensor.scale], start * BYTES, tensor.elements * BYTES)
            written(tensor.elements * BYTES)


def _header(tensors: Sequence[Tensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.elements * BYTES
        entries[tensor.name] = {
            "dtype": "BF16",
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the data begin aligned
    return struct.pack("<Q", len(header)) + header


def _repeat(stream: IO[bytes], block: memoryview, start: int, size: int) -> None:
    """Write so many bytes of a block, over and over, from one of its places on."""
    while size:
        count = stream.write(block[start : start + size])
        size -= count
        start = (start + count) % len(block)


def _write_index(
    directory: Path, files: Sequence[Path], shards: Sequence[Sequence[Tensor]]
) -> None:
    index = {
        "metadata": {"total_size": sum(t.elements * BYTES for shard in shards for t in shard)},
        "weight_map": {
            tensor.name: file.name
            for file, shard in zip(files, shards, strict=True)
            for tensor in shard
        },
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
