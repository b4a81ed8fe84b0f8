"""The table of least hardware in docs/sizing.md matches the plan and published requirements."""

import re
from dataclasses import dataclass

import pytest

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.sizing.parallelism import COMMON_NODE, GROUPS
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from tests.support.operator.resources import SETTINGS, resource
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "sizing.md"
HEADING = "## Minimum hardware for V3, R1, V3.1 and V3.2"
KINDS = ("nvidia-h100", "nvidia-h200", "nvidia-h20", "nvidia-b200", "nvidia-a100-80gb")
NODES = (1, 2, 4)


@dataclass(frozen=True)
class Row:
    """A line of the table, for one model, engine and profile."""

    model: str
    engine: str
    kind: str
    planned: tuple[str, ...]
    published: str

    def __str__(self) -> str:
        return f"{self.model}-{self.engine}-{self.kind}"


def rows() -> list[Row]:
    section = PAGE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    found = []
    for line in lines:
        models, engines, kinds, *planned, published, _ = (
            cell.strip() for cell in line.strip("|").split("|")
        )
        found += [
            Row(model, engine, kind, tuple(planned), published)
            for model in models.split(", ")
            for engine in re.findall(r"`(.+?)`", engines)
            for kind in (KINDS if kinds == "all" else re.findall(r"`(.+?)`", kinds))
        ]
    return found


def planned(row: Row) -> tuple[str, ...]:
    """Return GPUs, nodes, tokens and weights in the format of the table."""
    least = next(filter(None, (on_nodes(row, nodes) for nodes in NODES)), None)
    if least is None or least.sizing.memory is None:
        return ("refused", "", "", "")
    sizing = least.sizing
    gigabytes = f"{least.sizing.memory.weights / 1e9:.1f}"
    return (str(sizing.split.gpus), str(sizing.split.pods), f"{sizing.context:,}", gigabytes)


def on_nodes(row: Row, nodes: int) -> DesiredState | None:
    """Plan for a number of whole nodes; on a single node for as few GPUs as possible."""
    body = resource(
        model={"id": f"deepseek-ai/DeepSeek-{row.model}"},
        accelerator={"profile": row.kind},
        engine={"type": row.engine},
        parallelism={"tensor": nodes * COMMON_NODE} if nodes > 1 else None,
    )
    decision = decide(body, SETTINGS, Observed(served=frozenset({GROUPS})))
    assert isinstance(decision, DesiredState | Refusal)
    return decision if isinstance(decision, DesiredState) else None


@pytest.mark.parametrize("row", rows(), ids=str)
def test_table_matches_the_plan(row: Row) -> None:
    assert row.planned == planned(row)


@pytest.mark.parametrize("row", rows(), ids=str)
def test_plan_needs_no_more_gpus_than_published(row: Row) -> None:
    least = re.match(r"\d+", row.published)
    assert least is None or int(row.planned[0]) <= int(least[0])


def test_table_has_every_profile_for_every_model() -> None:
    listed = {(row.model, row.kind) for row in rows()}
    assert listed == {(m, kind) for m in ("V3", "R1", "V3.1", "V3.2") for kind in KINDS}
