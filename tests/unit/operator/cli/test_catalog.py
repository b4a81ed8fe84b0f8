"""Output of `deepseek catalog`."""

import json
from pathlib import Path

import pytest
import yaml

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from tests.unit.operator.cli.command import deepseek


def test_all_models_are_listed() -> None:
    rows = json.loads(deepseek("catalog", "models", "-o", "json").out)
    assert [row["model"] for row in rows] == list(models())
    (lite,) = (row for row in rows if row["model"] == "deepseek-ai/DeepSeek-V2-Lite")
    assert lite["weightBytes"] == 31_412_968_448
    assert lite["maxContext"] == 163_840


def test_all_accelerators_are_listed() -> None:
    rows = yaml.safe_load(deepseek("catalog", "accelerators", "-o", "yaml").out)
    assert [row["profile"] for row in rows] == list(accelerators().profiles)


def test_a_table_has_one_line_per_row_and_a_date() -> None:
    lines = deepseek("catalog", "accelerators").out.splitlines()
    assert lines[0].split()[:2] == ["profile", "memoryMiB"]
    assert len(lines) == 2 + len(accelerators().profiles)
    assert lines[-1].startswith("as of 2026-")


def test_every_price_has_a_date_and_a_source() -> None:
    rows = json.loads(deepseek("catalog", "prices", "-o", "json", "--as-of", "2026-11-28").out)
    assert all(row["asOf"] and row["source"] for row in rows)
    (old,) = (row for row in rows if row["name"] == "DeepSeek DeepSeek-R1")
    assert old["doubts"] == "stale"


def test_prices_become_stale() -> None:
    options = ("catalog", "prices", "-o", "json", "--profile", "nvidia-h200", "--as-of")
    now, later = (json.loads(deepseek(*options, day).out) for day in ("2026-08-01", "2027-08-01"))
    assert "stale" not in now[0]["doubts"]
    assert all("stale" in row["doubts"] for row in later)


def test_own_prices_override_the_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    own = {"name": "p5en.48xlarge", "profile": "nvidia-h200", "gpus": 8, "perHour": 40}
    offer = {"cloud": "aws", "region": "us-east-1", "asOf": "2026-11-01", "source": "our contract"}
    file.write_text(yaml.safe_dump({"offers": [{**offer, "machines": [own]}]}))
    result = deepseek(
        "catalog", "prices", "--prices", file, "-o", "json", "--profile", "nvidia-h200"
    )
    rows = json.loads(result.out)
    mine = [row for row in rows if "p5en" in row["name"]]
    assert [(row["price"], row["source"]) for row in mine] == [("40.000/h", "our contract")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("offer: []", "unknown section offer;"),
        ("hardware: [{name: x}]", "Hardware: asOf: Field required"),
        ("running: {people: {value: 5, asOf: 2026-01-01}}", "source"),
        ("offers: 3", "shows the fields"),
    ],
)
def test_an_invalid_price_is_rejected(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    result = deepseek("catalog", "prices", "--prices", file)
    assert result.code == 2
    assert str(file) in result.err
    assert message in result.err
