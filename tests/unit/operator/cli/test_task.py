"""Choice of a model by `deepseek recommend --task`, and the reasons against the others."""

import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.advisor.model_choice import candidates, least_of
from deepseek_operator.advisor.provisioning import Requirements
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
    data: dict[str, Any] = json.loads(result.out)
    return data


def rows(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["model"].rpartition("/")[2]: row for row in data["task"]["models"]}


def test_every_score_belongs_to_a_served_model_and_has_a_source() -> None:
    for name, task in built_in("tasks")["tasks"].items():
        scored = Counter(model for table in task["figures"] for model in table["scores"])
        assert max(scored.values()) == 1, f"{name} has two figures of a model"
    for task in tasks().values():
        assert len(task.figures) > 1
        for model, figure in task.figures.items():
            assert models().get(model) is not None, model
            assert 0 < figure.score <= 100
            assert len(figure.source) > 10


def test_the_cheapest_model_with_a_sufficient_score_is_chosen() -> None:
    data = recommended("--task", "code", "--requests", 2)
    found = rows(data)
    assert data["model"] == "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"
    assert found["DeepSeek-Coder-V2-Lite-Instruct"]["against"] is None
    assert found["DeepSeek-V2-Lite-Chat"]["against"] == "HumanEval 57.3 is below 72.2"
    dearer = found["deepseek-coder-33b-instruct"]
    more = dearer["perMonth"] - found["DeepSeek-Coder-V2-Lite-Instruct"]["perMonth"]
    assert dearer["against"] == f"{more:,} more a month"
    assert data["resource"]["spec"]["model"]["id"] == data["model"]


def test_a_task_costs_the_same_as_its_model() -> None:
    options = ("--requests", 2, "--itl", 60, "--data", "hybrid")
    data = recommended("--task", "math", *options)
    alone = recommended(data["model"], *options)
    assert {**data, "task": None} == {**alone, "task": None}


def test_least_sets_the_minimum_score() -> None:
    data = recommended("--task", "code", "--least", 90)
    assert data["model"] == "deepseek-ai/DeepSeek-Coder-V2-Instruct"
    assert recommended("--task", "code", "--least", 40)["task"]["least"] == 40


def test_models_above_the_latency_or_the_budget_are_not_chosen() -> None:
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


def test_a_request_longer_than_the_context_is_reported() -> None:
    data = recommended("--task", "code", "--least", 0, "--input", 20_000)
    assert (
        rows(data)["deepseek-llm-67b-chat"]["against"]
        == "20,128 tokens exceed its context length of 4,096"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either MODEL or --task"),
        (("DeepSeek-R1", "--task", "code"), "Give either MODEL or --task"),
        (("--task", "poem"), "Available tasks: chat, code,"),
        (("DeepSeek-R1", "--least", 3), "--least applies only with --task"),
    ],
    ids=["neither", "both", "unknown", "least alone"],
)
def test_invalid_arguments_are_rejected(arguments: tuple[object, ...], words: str) -> None:
    result = deepseek("recommend", *arguments)
    assert (result.code, words in result.err) == (2, True)


def test_the_html_page_lists_the_models(tmp_path: Path) -> None:
    file = tmp_path / "ways.html"
    data = deepseek("recommend", "--task", "code", "--html", file, "--as-of", DAY)
    text = file.read_text(encoding="utf-8")
    for word in ("deepseek-coder-33b-instruct", "HumanEval", "more a month", "read 2026-11-29"):
        assert word in text
    assert data.out.startswith("code: HumanEval >= 72.2 (")


def test_the_catalogue_lists_all_scores() -> None:
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
def test_no_suitable_model_is_cheaper_than_the_chosen_one(
    name: str, least: float | None, rate: float, itl: float | None, budget: float | None
) -> None:
    task = tasks()[name]
    wanted = least_of(task, least)
    requirements = Requirements("", Load(rate, 512, 128), itl=itl, budget=budget)
    found = candidates(task, requirements, KNOWN, TODAY, wanted)
    assert {each.model_id for each in found} == set(task.figures)
    assert all(each.against for each in found[1:])
    first = found[0]
    assert bool(first.way) == (not first.against)
    for each in found:
        if each.way is not None:
            assert each.figure.score >= wanted
            assert first.way is not None
            assert first.way.per_month <= each.way.per_month
