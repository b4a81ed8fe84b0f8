"""A published checkpoint as sparse files: real names, sizes and headers, and holes for the weights.

A file consists of its header and a hole up to its length, so 688 GB need some megabytes of disk, and
reading them gives zeros without disk accesses.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from hack.models.published.configs import CONFIGS
from hack.models.published.tensors import Config, Tensor, embedding, head, layer, layers
from hack.models.tiny import make_tokenizer

INDEX = "model.safetensors.index.json"
# R1's 163 files, by their sizes: a listing of its repository (`ls -lh`, in a public recipe of NVIDIA's
# LLMB for inference with R1 in fp8) shows files of 4.3 billion numbers, and a smaller one at the end of
# each group of layers. The groups follow from where those are.
SHARD_NUMBERS = 2**32
FIRSTS = (0, 7, 15, 23, 31, 39, 47, 54, 61, 62)
GROUPS = [range(first, last) for first, last in pairwise(FIRSTS)]
SHARDS = (12, 22, 22, 22, 22, 22, 19, 19, 3)


def make_published(name: str, directory: Path) -> Path:
    """Write a published model into a directory (created if missing) and return it.

    Args:
        name: Name of the model, a key of CONFIGS.
        directory: The target directory.

    Raises:
        KeyError: The model is unknown.
    """
    config = CONFIGS[name]
    directory.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save_pretrained(directory)
    shards = split(config)
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards, start=1):
        file = directory / f"model-{number:05}-of-{len(shards):06}.safetensors"
        write_sparse(file, tensors)
        weight_map |= {tensor.name: file.name for tensor in tensors}
    total = sum(tensor.bytes for tensors in shards for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / INDEX).write_text(json.dumps(index))
    generation = {"bos_token_id": 0, "eos_token_id": 1, "do_sample": True}
    (directory / "generation_config.json").write_text(json.dumps(generation))
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    return directory


def split(config: Config) -> list[list[Tensor]]:
    """Return the tensors of each file."""
    return [shard for group in range(len(GROUPS)) for shard in _group(config, group)]


def _group(config: Config, group: int) -> list[list[Tensor]]:
    """Return the files of a group of layers; the last one contains the rest."""
    shards: list[list[Tensor]] = [[]]
    numbers = 0
    for tensor in _of_group(config, group):
        shards[-1].append(tensor)
        numbers += tensor.elements
        if numbers > SHARD_NUMBERS and len(shards) < SHARDS[group]:
            shards.append([])
            numbers = 0
    return shards


def _of_group(config: Config, group: int) -> Iterator[Tensor]:
    if 0 in GROUPS[group]:
        yield from embedding(config)
    for number in GROUPS[group]:
        if number < layers(config):
            yield from layer(config, number)
    if config["num_hidden_layers"] - 1 in GROUPS[group]:
        yield from head(config)


def write_sparse(file: Path, tensors: Iterable[Tensor]) -> None:
    """Write a safetensors file with a hole after the header."""
    tensors = list(tensors)
    content = header(tensors)
    with file.open("wb") as stream:
        stream.write(content)
        stream.truncate(len(content) + sum(tensor.bytes for tensor in tensors))


def header(tensors: Sequence[Tensor]) -> bytes:
    """Return the beginning of a safetensors file: length and header."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.bytes
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [start, end],
        }
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)  # align the tensors
    return struct.pack("<Q", len(content)) + content
