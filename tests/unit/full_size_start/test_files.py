"""The sparse files match the published repositories as far as those are known."""

import json
import math
from pathlib import Path

import pytest
from transformers import AutoConfig

from deepseek_server.models.loading.checkpoint import INDEX, Checkpoint
from hack.models.published.configs import CONFIGS
from hack.models.published.shards import SHARDS, header, split
from hack.models.published.tensors import PUBLISHED_BYTES, PUBLISHED_TENSORS, TENSOR_BYTES, tensors

# Sizes as `ls -lh` shows them; all other files of the first eight groups have 4.1G.
LISTED = {1: 4.9, 12: 1.3, 34: 1.7, 56: 1.7, 78: 1.7, 100: 1.7, 122: 1.7, 141: 3.0}
# In the last two groups the listing differs by 0.2 GiB, which does not matter here.
LIKE_LISTED = 160


@pytest.mark.parametrize("name", ["DeepSeek-V3", "DeepSeek-R1", "DeepSeek-V3.1"])
def test_tensors_and_bytes_match_the_published_ones(name: str) -> None:
    shards = split(CONFIGS[name])
    assert sum(map(len, shards)) == PUBLISHED_TENSORS
    assert sum(tensor.bytes for shard in shards for tensor in shard) == TENSOR_BYTES
    # Of the headers only the sum is known.
    assert abs(TENSOR_BYTES + sum(len(header(s)) for s in shards) - PUBLISHED_BYTES) < 1000


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_is_in_one_file(name: str) -> None:
    shards = split(CONFIGS[name])
    assert len(shards) == sum(SHARDS)
    assert all(shards)
    names = [tensor.name for shard in shards for tensor in shard]
    assert sorted(names) == sorted(tensor.name for tensor in tensors(CONFIGS[name]))


def test_files_are_as_many_and_as_large_as_published(published: Path) -> None:
    sizes = [file.stat().st_size for file in sorted(published.glob("*.safetensors"))]
    assert len(sizes) == sum(SHARDS) == 163
    shown = {number: math.ceil(10 * size / 2**30) / 10 for number, size in enumerate(sizes, 1)}
    for number in range(1, LIKE_LISTED):
        assert shown[number] == LISTED.get(number, 4.1), number


def test_sparse_files_need_little_disk_space(published: Path) -> None:
    assert sum(file.stat().st_blocks * 512 for file in published.iterdir()) < 64 * 2**20


def test_the_index_matches_the_headers(published: Path, checkpoint: Checkpoint) -> None:
    index = json.loads((published / INDEX).read_text())
    assert index["metadata"]["total_size"] == TENSOR_BYTES
    assert index["weight_map"] == {n: stored.file.name for n, stored in checkpoint.tensors.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_knows_the_configuration(name: str) -> None:
    config = AutoConfig.for_model(**CONFIGS[name])
    assert config.num_hidden_layers == 61
    assert config.rope_parameters["factor"] == 40
