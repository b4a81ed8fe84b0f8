"""The operator's planner against the tensors of the published checkpoints, rank by rank."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.sizing.memory import Memory
from deepseek_server.distributed.sharding import part
from deepseek_server.distributed.tensor_parallel import split
from deepseek_server.models.layers import fp8_modules
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.models.loading.stored import Stored
from hack.models.published.configs import CONFIGS
from hack.models.published.tensors import BF16, BLOCK, F32, FP8, Tensor, tensors
from tests.unit.full_size_start.ranks import Rank, capability

NAMES = ["DeepSeek-V3", "DeepSeek-R1", "DeepSeek-V3.1"]
EXPERT = re.compile(r"(?P<stack>.*\.mlp\.experts)\.\d+\.(?P<matrix>gate|up|down)_proj\.weight")
# Absorbed attention splits this matrix, in the type of the computation.
TAKEN_APART = "kv_b_proj"


def served(name: str) -> Iterator[Tensor]:
    """Yield the served tensors: without the multi-token prediction layer."""
    return (t for t in tensors(CONFIGS[name]) if not t.name.startswith("model.layers.61."))


def bytes_of_rank(name: str, rank: int, size: int, *, packed: bool) -> int:
    """Return the bytes that a rank keeps of a checkpoint, by the rules of distributed/sharding.py."""
    return sum(_kept(tensor, rank, size, packed) for tensor in served(name))


def _kept(tensor: Tensor, rank: int, size: int, packed: bool) -> int:
    if tensor.name.endswith("_scale_inv"):
        return 0  # counted with its matrix
    rows, columns = _shape_of_part(tensor, rank, size)
    if tensor.dtype == F32:
        # Only the routers' biases are kept in float32 with any compute type.
        return rows * columns * (4 if tensor.name.endswith("e_score_correction_bias") else 2)
    if tensor.dtype == BF16 or TAKEN_APART in tensor.name or not packed:
        return rows * columns * 2
    assert tensor.dtype == FP8
    if columns % BLOCK or (rows % BLOCK and rows != tensor.shape[0]):
        return rows * columns * 2  # a part of a block
    return rows * columns + 4 * -(-rows // BLOCK) * (columns // BLOCK)


def _shape_of_part(tensor: Tensor, rank: int, size: int) -> tuple[int, int]:
    if (match := EXPERT.fullmatch(tensor.name)) is None:
        return part(tensor.name, tensor.shape, rank, size).shape
    rows, columns = tensor.shape
    if match["matrix"] == "down":
        return part(f"{match['stack']}.down_proj", (1, rows, columns), rank, size).shape
    # In a stack the gate projections come before the up projections.
    both = part(f"{match['stack']}.gate_up_proj", (1, 2 * rows, columns), rank, size)
    return both.shape[0] // 2, both.shape[1]


def of_server(name: str, rank: int, size: int, *, packed: bool) -> int:
    """Return the bytes of the model that the server builds on the meta device."""
    stored = {
        tensor.name: Stored(Path("published"), tensor.dtype, tensor.shape, 0)
        for tensor in tensors(CONFIGS[name])
    }
    model = model_of(name, stored)
    if packed:
        fp8_modules.keep(model, stored, False, rank, size)
    if size > 1:
        split(model, Rank(rank, size))
    return skeleton.size(model)


def model_of(name: str, stored: dict[str, Stored]) -> skeleton.PreTrainedModel:
    config = CONFIGS[name]
    directory = Path(name)
    checkpoint = Checkpoint(
        directory, config, config["max_position_embeddings"], "bfloat16", stored
    )
    return skeleton.build(checkpoint, torch.bfloat16)


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the config.json of each model to where the code looks for it."""
    monkeypatch.chdir(tmp_path)
    for name, config in CONFIGS.items():
        Path(name).mkdir()
        Path(name, "config.json").write_text(json.dumps(config))


def planned(name: str, kind: str, gpus: int) -> Memory:
    model = models().get(f"deepseek-ai/{name}")
    assert model is not None
    return Memory(model, accelerators().profiles[kind], gpus, "bfloat16")


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("kind", ["nvidia-h100", "nvidia-a100-80gb"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_rank_are_those_of_its_tensors(name: str, kind: str, size: int) -> None:
    memory = planned(name, kind, size)
    # An A100 has no fp8 products: the server casts to two bytes while it reads.
    packed = capability(memory.profile) >= (9, 0)
    assert memory.packs == packed
    # Of 32 parts of an expert none has a whole block.
    assert memory.packed == (packed and size < 32)
    # All ranks keep the same number of bytes (test_plan.py); the last one's head ends beyond the end.
    real = bytes_of_rank(name, size - 1, size, packed=packed)
    assert memory.weights == pytest.approx(real, rel=0.0001)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [8, pytest.param(16, marks=pytest.mark.long), 32])
def test_the_servers_model_has_the_bytes_computed_from_the_tensors(size: int, packed: bool) -> None:
    computed = bytes_of_rank("DeepSeek-V3", size - 1, size, packed=packed)
    assert of_server("DeepSeek-V3", size - 1, size, packed=packed) == computed


@pytest.mark.parametrize(("kind", "packed"), [("nvidia-h200", True), ("nvidia-a100-80gb", False)])
def test_the_whole_of_v32_with_its_indexer(kind: str, packed: bool) -> None:
    memory = planned("DeepSeek-V3.2", kind, 1)
    computed = bytes_of_rank("DeepSeek-V3.2", 0, 1, packed=packed)
    assert of_server("DeepSeek-V3.2", 0, 1, packed=packed) == computed
    assert memory.weights == pytest.approx(computed, rel=0.0001)
