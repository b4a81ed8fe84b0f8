"""Which model `deepseek recommend --task` takes, and why not the others."""

import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.advisor.model_choice import candidates, least_of
from deepseek_operator.advisor.provisioning import Wish
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.entries import built_in
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import prices
from deepseek_operator.catalog.tasks import tasks
from tests.unit.operator.cli.command import deepseek
from tests.unit.operator.cli.golden import DAY

KNOWN, TODAY = prices(), date.fromisoformat(DAY)


def recommended(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = deepseek("recommend", *arguments, "-o", "json", "--as-of", DAY)
    assert result.code == code, result.err
    said: dict[str, Any] = json.loads(result.out)
    return said


def rows(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["model"].rpartition("/")[2]: row for row in said["task"]["models"]}


def test_every_figure_is_of_a_model_that_is_served_and_has_a_source() -> None:
    for name, task in built_in("tasks")["tasks"].items():
        scored = Counter(model for table in task["figures"] for model in table["scores"])
        assert max(scored.values()) == 1, f"{name} has two figures of a model"
    for task in tasks().values():
        assert len(task.figures) > 1
        for model, figure in task.figures.items():
            assert models().get(model) is not None, model
            assert 0 < figure.score <= 100
            assert len(figure.source) > 10


def test_the_cheapest_that_does_it_well_enough_is_taken() -> None:
    said = recommended("--task", "code", "--requests", 2)
    found = rows(said)
    assert said["model"] == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    assert found["DeepSeek-Coder-V2-Lite-Instruct"]["against"] is None
    assert found["DeepSeek-V2-Lite-Chat"]["against"] == "HumanEval 57.3 is below 72.2"
    dearer = found["deepseek-coder-33b-instruct"]
    more = dearer["perMonth"] - found["DeepSeek-Coder-V2-Lite-Instruct"]["perMonth"]
    assert dearer["against"] == f"{more:,} more a month"
    assert said["resource"]["spec"]["model"]["id"] == said["model"]


def test_it_costs_what_the_model_costs_alone() -> None:
    options = ("--requests", 2, "--itl", 60, "--data", "hybrid")
    said = recommended("--task", "math", *options)
    alone = recommended(said["model"], *options)
    assert {**said, "task": None} == {**alone, "task": None}


def test_more_may_be_asked_of_it() -> None:
    said = recommended("--task", "code", "--least", 90)
    assert said["model"] == "deepseek-ai/DeepSeek-Coder-V2-Instruct"
    assert recommended("--task", "code", "--least", 40)["task"]["least"] == 40


def test_what_is_too_slow_or_too_dear_is_not_taken() -> None:
    loose = recommended("--task", "chat", "--least", 30)
    assert loose["model"] == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    result = deepseek("recommend", "--task", "chat", "--itl", 5, "--as-of", DAY)
    assert result.code == 1
    assert (
        "DeepSeek-V2.5: no GPU profile with a price holds it within the latency limits."
        in result.err
    )
    result = deepseek("recommend", "--task", "math", "--budget", 1, "--as-of", DAY)
    assert (result.code, "above the budget of 1" in result.err) == (1, True)


def test_a_request_that_is_too_long_for_a_model_is_said_to_be() -> None:
    said = recommended("--task", "code", "--least", 0, "--input", 20_000)
    assert (
        rows(said)["deepseek-llm-67b-chat"]["against"]
        == "20,128 tokens exceed its context length of 4,096"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either MODEL or --task"),
        (("DeepSeek-R1", "--task", "code"), "Give either MODEL or --task"),
        (("--task", "poem"), "There are: chat, code,"),
        (("DeepSeek-R1", "--least", 3), "--least is of a --task"),
    ],
    ids=["neither", "both", "unknown", "least alone"],
)
def test_what_can_not_be_asked(arguments: tuple[object, ...], words: str) -> None:
    result = deepseek("recommend", *arguments)
    assert (result.code, words in result.err) == (2, True)


def test_the_page_has_the_models(tmp_path: Path) -> None:
    file = tmp_path / "ways.html"
    said = deepseek("recommend", "--task", "code", "--html", file, "--as-of", DAY)
    text = file.read_text(encoding="utf-8")
    for word in ("deepseek-coder-33b-instruct", "HumanEval", "more a month", "read 2026-11-29"):
        assert word in text
    assert said.out.startswith("code: HumanEval of 72.2 or more")


def test_the_catalogue_tells_its_figures() -> None:
    listed = json.loads(deepseek("catalog", "tasks", "-o", "json").out)
    assert len(listed) == sum(len(task.figures) for task in tasks().values())
    assert {"task", "benchmark", "model", "score", "asOf", "source"} <= set(listed[0])


@given(
    st.sampled_from(sorted(tasks())),
    st.none() | st.floats(0, 100),
    st.floats(0.01, 50),
    st.none() | st.floats(0.005, 0.2),
    st.none() | st.floats(100, 50_000),
)
@settings(max_examples=25, deadline=None)
def test_nothing_that_suits_is_cheaper(
    name: str, least: float | None, rate: float, itl: float | None, budget: float | None
) -> None:
    task = tasks()[name]
    wanted = least_of(task, least)
    wish = Wish("", Load(rate, 512, 128), itl=itl, budget=budget)
    found = candidates(task, wish, KNOWN, TODAY, wanted)
    assert {each.model_id for each in found} == set(task.figures)
    assert all(each.against for each in found[1:])
    first = found[0]
    assert bool(first.way) == (not first.against)
    for each in found:
        if each.way is not None:
            assert each.figure.score >= wanted
            assert first.way is not None
            assert first.way.per_month <= each.way.per_month
