"""Command output quoted in the documentation matches the commands."""

import re
import shlex

import pytest

from deepseek_operator.advisor.performance import predicted
from deepseek_operator.catalog.performance import performance
from tests.support.repository import ROOT
from tests.unit.operator.cli.command import deepseek
from tests.unit.operator.cli.golden import DAY

DOCS = ROOT / "docs"
PAGES = (DOCS / "cost.md", DOCS / "guides" / "choose.md")
SHOWN = [
    (command, shown)
    for page in PAGES
    for command, shown in re.findall(
        r"```console\n\$ deepseek (.*)\n((?:.*\n)*?)\.\.\.\n```", page.read_text(encoding="utf-8")
    )
]


def test_the_number_of_quoted_commands_is_known() -> None:
    assert len(SHOWN) == 7


@pytest.mark.parametrize(("command", "shown"), SHOWN, ids=[command for command, _ in SHOWN])
def test_quoted_output_matches_the_command(command: str, shown: str) -> None:
    printed = [
        line.rstrip() for line in deepseek(*shlex.split(command), "--as-of", DAY).out.splitlines()
    ]
    printed = [line for line in printed if line]
    lines = shown.splitlines()
    assert printed[: len(lines)] == lines


def test_quoted_predictions_match_the_catalogue() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    rows = re.findall(r"\| [\w.-]+, (\d+) at once \| ([\d,]+) \| ([\d,]+) \|", text)
    found = [
        (str(p.at_once), f"{p.per_second:,.0f}", f"{predicted(p):,.0f}")
        for p in performance().measured
    ]
    assert rows == found
