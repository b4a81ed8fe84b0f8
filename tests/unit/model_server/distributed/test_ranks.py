"""Two tensor parallel processes give the answers of one, and none outlives the other."""

import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks.server.steps.one_rank import OneRankAlone
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.loading.loading import load as load_as_served
from deepseek_server.server.lifecycle import Progress
from hack.models.families import PAGED
from tests.support.model_server.serving import directory_config
from tests.unit.model_server.distributed.greedy import ANSWER, LENGTHS, prompt
from tests.unit.model_server.models.stepping import generated, load


@pytest.fixture(scope="module")
def two_ranks(tiny, start_ranks) -> list[dict]:
    """Return the results of each of two ranks for all families."""
    ranks = start_ranks("greedy", 2, *(tiny(family) for family in PAGED))
    outputs = [rank.communicate(timeout=300) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    return [json.loads(stdout) for stdout, _ in outputs]


@pytest.mark.parametrize("family", PAGED)
def test_several_ranks_give_the_answers_of_one_process(
    family: str, tiny, two_ranks: list[dict]
) -> None:
    model = load(tiny(family))
    expected = [generated(model, prompt(length), ANSWER) for length in LENGTHS]
    with torch.inference_mode():
        logits = model(torch.tensor([prompt(LENGTHS[-1])])).logits[0, -1]
    for rank in two_ranks:
        assert rank[family]["answers"] == expected
        found = torch.tensor(rank[family]["logits"])
        torch.testing.assert_close(found, logits, atol=5e-4, rtol=0)
    assert two_ranks[0][family]["logits"] == two_ranks[1][family]["logits"], "sampled by each"


@pytest.mark.parametrize("family", PAGED)
def test_each_keeps_and_reads_little_more_than_half(
    family: str, tiny, two_ranks: list[dict]
) -> None:
    whole = sum(parameter.nbytes for parameter in load(tiny(family)).parameters())
    files = sum(tensor.bytes for tensor in inspect(tiny(family)).tensors.values())
    for rank in two_ranks:
        assert rank[family]["weights"] < 0.66 * whole  # embeddings and routers are kept by both
        assert rank[family]["bytes"] < 0.8 * files  # column parts need all rows


@pytest.mark.parametrize("family", PAGED)
def test_a_rank_alone_keeps_the_same_part(family: str, tiny, two_ranks: list[dict]) -> None:
    config = directory_config(tiny(family), dtype="float32").model
    for number, rank in enumerate(two_ranks):
        group, progress = OneRankAlone(number, 2), Progress()
        model = load_as_served(inspect(tiny(family)), config, "cpu", progress, group).model
        kept = sum(parameter.nbytes for parameter in model.parameters())
        assert (kept, progress.bytes[1]) == (rank[family]["weights"], rank[family]["bytes"])


def test_commands_of_any_length_reach_all_ranks(two_ranks: list[dict]) -> None:
    for rank in two_ranks:
        assert rank["shared"] == [[0, 0, 0], [0, 4000, 4000], [0, 100_000, 100_000]]
        assert rank["smallest"] == 9


@pytest.mark.parametrize(("operation", "dying"), [("share", 0), ("all_reduce", 1), ("nothing", 2)])
def test_a_rank_that_dies_ends_the_others(operation: str, dying: int, start_ranks) -> None:
    ranks = start_ranks("dying", 3, "--in", operation, "--rank", dying)
    ranks[dying].wait(timeout=120)
    died = time.monotonic()
    for number, rank in enumerate(ranks):
        if number == dying:
            continue
        _, log = rank.communicate(timeout=30)
        assert rank.returncode == 4, log
        lines = [line for line in log.splitlines() if line.startswith("ERROR")]
        assert len(lines) == 1, log
        assert f"of this model has ended, so rank {number} ends too" in lines[0]
        assert "Traceback" not in log
    assert time.monotonic() - died < 60


def test_a_rank_without_the_others_ends_with_a_message(start_ranks, monkeypatch) -> None:
    monkeypatch.setenv("START_SECONDS", "1")
    (alone, other) = start_ranks("lonely", 2)
    other.kill()
    _, log = alone.communicate(timeout=120)
    assert alone.returncode == 4, log
    assert "rank 0 did not connect to the other 1 ranks of the model at 127.0.0.1 port" in log
    assert Path(__file__).name not in log
