"""The operator computes what the model server will take; here the server takes it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server.steps.one_rank import OneRankAlone
from deepseek_operator.catalog import shape
from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import Model, models
from deepseek_operator.catalog.shape import Shape
from deepseek_operator.plan.sizing import memory
from deepseek_operator.plan.sizing.memory import Memory
from deepseek_server.attention.sparse import selection
from deepseek_server.attention.sparse.attention import SparseAttention
from deepseek_server.distributed import sharding
from deepseek_server.distributed.process_group import ALONE
from deepseek_server.errors import PermanentError
from deepseek_server.models import memory_budget
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.layers import fp8_modules
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading.checkpoint import Checkpoint, inspect
from deepseek_server.models.loading.loading import LoadedModel, load
from deepseek_server.models.runners import piecewise_graphs as pieces
from deepseek_server.models.runners import sequential as whole
from deepseek_server.models.runners.compressed import compressed_runner, footprint
from deepseek_server.server.lifecycle import Progress
from deepseek_server.worker import main as worker
from hack.gpu import memory as gpu_memory
from hack.models.families import FAMILIES, PAGED
from hack.models.tiny import make_tiny
from tests.support.model_server.serving import directory_config

# A kind that keeps no eight bits, as the CPU does not.
PLAIN: Profile = accelerators().profiles["nvidia-a100-80gb"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def directory(family: str) -> Path:
        if family not in made:
            # Experts of a width that two can share in 16 bits.
            split = family in PAGED and family.startswith("deepseek")
            wide = {"moe_intermediate_size": 64} if split else {}
            directory = tmp_path_factory.mktemp("tiny") / family
            made[family] = make_tiny(family, directory, **wide)
        return made[family]

    return directory


def loaded(directory: Path, gpus: int = 1) -> tuple[LoadedModel, Checkpoint]:
    checkpoint = inspect(directory)
    config = directory_config(directory, dtype="bfloat16").model
    group = OneRankAlone(0, gpus) if gpus > 1 else ALONE
    return load(checkpoint, config, "cpu", Progress(), group), checkpoint


def computed(checkpoint: Checkpoint, gpus: int = 1) -> Memory:
    return Memory(Model.of_file(checkpoint.config), PLAIN, gpus, "bfloat16")


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_take_what_was_computed(
    tiny: Callable[[str], Path], family: str, gpus: int
) -> None:
    """Within 2 %: in these narrow models sinks, biases of routers and the like count."""
    if gpus > 1 and family not in PAGED:
        with pytest.raises(PermanentError, match="cannot be split"):
            loaded(tiny(family), gpus)
        return
    real, checkpoint = loaded(tiny(family), gpus)
    assert computed(checkpoint, gpus).weights == pytest.approx(skeleton.size(real.model), rel=0.02)


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("family", PAGED)
def test_a_token_takes_in_the_paged_cache_what_was_computed(
    tiny: Callable[[str], Path], family: str, gpus: int
) -> None:
    real, checkpoint = loaded(tiny(family), gpus)
    runner = paged_runner(real.model, context=real.context, step_tokens=64, sequences=4)
    attention: Any = runner._attention
    sparse = isinstance(attention, SparseAttention)
    cached = attention.cached_bytes if sparse else attention.cache.nbytes
    tokens = (runner.num_blocks + 1) * runner.block_size
    assert cached == tokens * computed(checkpoint, gpus).per_token


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in PAGED])
def test_a_request_takes_in_rings_and_entries_what_was_computed(
    tiny: Callable[[str], Path], family: str
) -> None:
    """Entries within 2 %: those of many tokens take less than a byte for each."""
    real, checkpoint = loaded(tiny(family))
    runner = compressed_runner(real.model, context=real.context, step_tokens=64, sequences=4)
    attention: Any = runner._attention
    kept = footprint(real.model)
    tokens = (runner.num_blocks + 1) * runner.block_size
    assert attention.cached_bytes == pytest.approx(
        kept.of(tokens) + 3 * kept.per_sequence, rel=0.02
    )
    known = computed(checkpoint).model.shape
    assert known.cache_per_token == pytest.approx(kept.per_token, rel=0.02)
    assert known.cache_per_sequence == pytest.approx(kept.per_sequence)


def test_the_comparison_on_a_gpu_can_be_tried_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--device", "cpu", "--profile", "tiny", "--directory", str(tmp_path)]
    gpu_memory.main(command)
    found = json.loads(capsys.readouterr().out)
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert found["bytes"]["weights"]["measured"] == pytest.approx(weights, rel=0.01)
    assert {row["planned_by_measured"] for row in found["bytes"].values()} == {1.0}
    # A planner that forgets the half of a cache is found out.
    monkeypatch.setattr(Memory, "per_token", 512.0)
    with pytest.raises(SystemExit, match="deviations of more than 5%: kv_per_token"):
        gpu_memory.main(command)


def shapes() -> dict[str, Shape]:
    known = {name: models().get(name) for name in models()}
    return {name: model.shape for name, model in known.items() if model is not None}


@pytest.mark.parametrize("name", shapes())
def test_the_server_splits_over_the_same_numbers_of_gpus(name: str) -> None:
    known = shapes()[name]
    config = {"num_key_value_heads": None, "intermediate_size": 0, **known.config}
    for gpus in range(1, 17):
        assert known.splits(gpus) == _accepts(config, gpus), gpus


def _accepts(config: dict[str, Any], gpus: int) -> bool:
    try:
        sharding.check(config, gpus)
    except PermanentError:
        return False
    return True


def test_the_servers_own_numbers() -> None:
    assert worker.STEP_TOKENS["cuda"] == memory.STEP
    assert worker.RUNNING == memory.REQUESTS
    assert whole.STEP_TOKENS["cuda"] == memory.WHOLE_STEP
    assert whole.SEQUENCES == memory.WHOLE_REQUESTS
    assert (memory_budget.LATER, memory_budget.FRAGMENTS) == (memory.LATER, memory.FRAGMENTS)
    assert memory_budget.GRAPHS_SHARE == memory.GRAPHS_SHARE
    assert pieces.sizes(memory.STEP)[-1] == memory.PROMPT_GRAPHS
    assert selection.TILE_BYTES["cuda"] == memory.TILE
    assert sharding._MOST == shape.MOST


def test_fp8_stays_packed_where_the_server_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    v3 = models().get("deepseek-ai/DeepSeek-V3")
    assert v3 is not None
    for name, profile in accelerators().profiles.items():
        if not profile.capability:
            continue
        major, minor = map(int, profile.capability.split("."))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=(major, minor): c)
        native = fp8_modules.native(torch.device("cuda"))
        assert Memory(v3, profile, 8, "bfloat16").packed == native, name
