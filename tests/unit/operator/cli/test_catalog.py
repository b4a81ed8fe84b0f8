"""What `deepseek catalog` tells."""

import json

import yaml

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from tests.unit.operator.cli.command import deepseek


def test_models_are_all_of_the_catalogue() -> None:
    rows = json.loads(deepseek("catalog", "models", "-o", "json").out)
    assert [row["model"] for row in rows] == list(models())
    (lite,) = (row for row in rows if row["model"] == "deepseek-ai/DeepSeek-V2-Lite")
    assert lite["weightBytes"] == 31_412_968_448
    assert lite["maxContext"] == 163_840


def test_accelerators_are_all_of_the_catalogue() -> None:
    rows = yaml.safe_load(deepseek("catalog", "accelerators", "-o", "yaml").out)
    assert [row["profile"] for row in rows] == list(accelerators().profiles)


def test_a_table_has_a_line_for_each_and_says_as_of_when() -> None:
    lines = deepseek("catalog", "accelerators").out.splitlines()
    assert lines[0].split()[:2] == ["profile", "memoryMiB"]
    assert len(lines) == 2 + len(accelerators().profiles)
    assert lines[-1].startswith("as of 2026-")
