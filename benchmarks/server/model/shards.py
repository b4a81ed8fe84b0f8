"""Random weights as safetensors files, written at about the speed of the disk.

Drawing billions of random numbers takes minutes. So one block is drawn for each distribution, and a
tensor repeats that block from some offset. The block's length is a prime, so no two rows of a
tensor are equal, and no two logits tie. Only those blocks are in memory, for a model of any size,
and no GPU is needed.

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

from benchmarks.server.families.tensor import Tensor, Values
from deepseek_server.models.loading.weights import DTYPES

SHARD_BYTES = 4 * 10**9
BLOCK = 4_194_301  # a prime
STEP = 37  # between consecutive integers; also a prime
SEED = 0


def write_shards(
    tensors: Iterable[Tensor],
    directory: Path,
    written: Callable[[int], object] = lambda _: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write all tensors and, if there are several files, their index.

    Args:
        tensors: the tensors.
        directory: the target directory.
        written: called with the bytes of each written tensor, in any thread.
        shard_bytes: maximum bytes of a file, unless a single tensor is larger.
    """
    shards = _split(tensors, shard_bytes)
    blocks = _blocks({tensor.values for shard in shards for tensor in shard})
    files = [directory / _name(number, len(shards)) for number in range(1, len(shards) + 1)]
    with ThreadPoolExecutor(min(len(shards), os.cpu_count() or 1)) as pool:
        list(pool.map(lambda file, of_file: _write(file, of_file, blocks, written), files, shards))
    if len(shards) > 1:
        _write_index(directory, files, shards)


def _split(tensors: Iterable[Tensor], shard_bytes: int) -> list[list[Tensor]]:
    shards: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.bytes
    return shards


def _name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _blocks(kinds: set[Values]) -> dict[Values, memoryview]:
    """Return one block of random numbers, as bytes, for each distribution."""
    noise = torch.randn(BLOCK, generator=torch.Generator().manual_seed(SEED)).clamp(-4, 4)
    return {kind: _drawn(noise, kind) for kind in kinds}


def _drawn(noise: torch.Tensor, kind: Values) -> memoryview:
    dtype = DTYPES[kind.dtype]
    if kind.below:
        return _as_bytes(STEP * torch.arange(BLOCK) % kind.below, dtype)
    numbers = kind.mean + kind.scale * noise
    if kind.powers:
        numbers = torch.exp2(torch.log2(numbers).round())
    if dtype.itemsize == 1:  # fp8 has no infinity to overflow to
        numbers = numbers.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max)
    return _as_bytes(numbers, dtype)


def _as_bytes(numbers: torch.Tensor, dtype: torch.dtype) -> memoryview:
    return memoryview(numbers.to(dtype).view(torch.uint8).numpy())


def _write(
    file: Path,
    tensors: Sequence[Tensor],
    blocks: dict[Values, memoryview],
    written: Callable[[int], object],
) -> None:
    with file.open("wb", buffering=0) as stream:
        stream.write(_header(tensors))
        for tensor in tensors:
            block = blocks[tensor.values]
            start = zlib.crc32(tensor.name.encode()) % BLOCK
            _repeat(stream, block, start * (len(block) // BLOCK), tensor.bytes)
            written(tensor.bytes)


def _header(tensors: Sequence[Tensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.bytes
        entries[tensor.name] = {
            "dtype": tensor.values.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # align the data
    return struct.pack("<Q", len(header)) + header


def _repeat(stream: IO[bytes], block: memoryview, start: int, size: int) -> None:
    """Write `size` bytes of a repeated block, from an offset on."""
    while size:
        count = stream.write(block[start : start + size])
        size -= count
        start = (start + count) % len(block)


def _write_index(
    directory: Path, files: Sequence[Path], shards: Sequence[Sequence[Tensor]]
) -> None:
    index = {
        "metadata": {"total_size": sum(t.bytes for shard in shards for t in shard)},
        "weight_map": {
            tensor.name: file.name
            for file, shard in zip(files, shards, strict=True)
            for tensor in shard
        },
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
