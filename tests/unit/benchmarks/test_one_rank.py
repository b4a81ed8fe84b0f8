"""One rank of a group without the others: its size, shapes, and invalid ranks."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.server.__main__ import main
from benchmarks.server.model import profiles
from benchmarks.server.model.make_model import write_model
from benchmarks.server.steps.one_rank import OneRankAlone
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.loading import meta_model as skeleton
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.loading.loading import load
from deepseek_server.server.lifecycle import Progress
from hack.gpu.slices import __main__ as slices
from tests.support.model_server.serving import directory_config

RANKS = 8
SPLIT = ("v3-tiny", "v2-tiny", "llama-tiny")


@pytest.fixture(scope="module", params=SPLIT)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("one-rank") / request.param
    return write_model(profiles.configuration(request.param), where)


def loaded(directory: Path, group: Group):
    config = directory_config(directory, dtype="float32").model
    return load(inspect(directory), config, "cpu", Progress(), group)


def test_one_rank_keeps_an_eighth_of_sharded_tensors(directory: Path) -> None:
    whole = skeleton.stored_tensors(loaded(directory, SINGLE_PROCESS).model)
    first, last = (
        skeleton.stored_tensors(loaded(directory, OneRankAlone(rank, RANKS)).model)
        for rank in (0, RANKS - 1)
    )
    shares = {name: tensor.numel() / whole[name].numel() for name, tensor in first.items()}
    assert shares == {name: last[name].numel() / whole[name].numel() for name in last}
    assert set(shares.values()) == {1, 1 / RANKS}
    split = {name.rpartition("layers.2.")[2] for name, share in shares.items() if share < 1}
    assert {"self_attn.o_proj.weight", "lm_head.weight"} < split
    ours = first["model.layers.2.self_attn.o_proj.weight"]
    theirs = whole["model.layers.2.self_attn.o_proj.weight"]
    assert torch.equal(ours, theirs[:, : theirs.shape[1] // RANKS])


@pytest.mark.parametrize("rank", [0, RANKS - 1])
def test_its_steps_have_the_shapes_of_the_whole(directory: Path, rank: int) -> None:
    group = OneRankAlone(rank, RANKS)
    model = loaded(directory, group)
    runner = paged_runner(
        model.model, context=256, max_num_batched_tokens=64, max_num_seqs=4, group=group
    )
    chunks = [
        Chunk(tuple(range(300, 340)), 0, (0, 1, 2), sample=True),
        Chunk((301,), 0, (3,), sample=True, request_index=1),
    ]
    for step in (chunks, [Chunk((7,), 40, (0, 1, 2), sample=True), chunks[1]]):
        logits = runner.run(step)
        assert logits.shape == (2, 2048)
        assert torch.isfinite(logits).all()
        assert float(logits.std()) > 0.5


@pytest.mark.parametrize("shape", [(3,), (2, 5), (1, 2, 4)])
def test_gathered_tensors_have_the_shape_of_the_group(shape: tuple[int, ...]) -> None:
    group = OneRankAlone(1, 3)
    tensor = torch.randn(shape)
    joined = group.all_gather(tensor)
    assert joined.shape == (*shape[:-1], 3 * shape[-1])
    assert torch.equal(joined[..., shape[-1] : 2 * shape[-1]], tensor)
    assert group.all_reduce(tensor) is tensor
    assert (group.all_gather_object("a"), group.broadcast_object("b"), group.all_reduce_min(4)) == (
        ["a"] * 3,
        "b",
        4,
    )


def test_a_step_of_one_rank_from_the_command_line(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["forward", str(directory), "--device", "cpu", "-n", "2", "--context", "8"]
    assert main([*command, "--tensor-parallel-of", "8", "--rank", "7"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ranks"], found["at_once"]) == (8, 2)
    assert found["step_ms"] > 0
    assert main([*command, "--tensor-parallel-of", "8", "--rank", "8"]) == 1
    assert "rank 8 is not in a group of 8" in capsys.readouterr().err


def test_a_slice_of_one_rank_is_checked_except_its_logits(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--device", "cpu", "--profile", directory.name, "--directory", str(directory)]
    slices.main([*command, "--context", "300", "--tensor-parallel-of", "8"])
    found = json.loads(capsys.readouterr().out)
    assert found["ranks"] == RANKS
    assert found["checks"]["memory"]["off"] == []
    assert "reference" not in found["checks"]
    with pytest.raises(SystemExit, match="rank -1 is not in a group of 8"):
        slices.main([*command, "--tensor-parallel-of", "8", "--rank", "-1"])
