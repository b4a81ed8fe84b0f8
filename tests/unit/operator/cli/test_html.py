"""HTML pages of `plan --html` and `recommend --html`."""

import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.advisor.cost_curves import Curve, by_load, turns
from deepseek_operator.advisor.provisioning import Requirements
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.prices import prices
from deepseek_operator.cli.html import comparison as comparison_page
from deepseek_operator.cli.html import plan as plan_page
from deepseek_operator.cli.html.axes import Axis, around
from deepseek_operator.cli.html.placement import Gpu, placement
from tests.unit.operator.cli.command import deepseek
from tests.unit.operator.cli.golden import DAY, EXAMPLES
from tests.unit.operator.cli.test_plan import resource

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
SEVEN = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
TODAY = date.fromisoformat(DAY)
LOADED = ("src", "href", "xlink:href", "action", "srcset", "data", "poster")


class Page(HTMLParser):
    """A parsed page: its elements, attributes and texts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.figures: list[set[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "figure":
            self.figures.append(set())
        elif "figure" in self.open:
            self.figures[-1].add(tag)
        if tag not in ("meta", "path", "rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def planned(tmp_path: Path, file: Path, *options: object) -> Page:
    out = tmp_path / "plan.html"
    result = deepseek("plan", file, "--html", out, "--as-of", DAY, *options)
    assert result.code == 0, result.err
    return Page(out.read_text(encoding="utf-8"))


def recommended(tmp_path: Path, *arguments: object) -> Page:
    out = tmp_path / "ways.html"
    deepseek("recommend", *arguments, "--html", out, "--as-of", DAY)
    return Page(out.read_text(encoding="utf-8"))


def alone(page: Page) -> None:
    """Check that a page loads nothing, runs no scripts, and describes its pictures."""
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not [pair for _, attrs in page.tags for pair in attrs.items() if pair[0] in LOADED]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "url(" not in page.words
    assert "@import" not in page.words
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs["role"] == "img"
            assert set(str(attrs["aria-labelledby"]).split()) <= set(ids)
    for figure in page.figures:
        assert figure >= {"svg", "title", "desc", "table", "figcaption"}
    assert not page.open


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_page_of_every_example_is_self_contained(tmp_path: Path, path: Path) -> None:
    if "kind: DeepSeekDeployment" in path.read_text(encoding="utf-8"):
        alone(planned(tmp_path, path, "--requests", 1))


@pytest.mark.parametrize(
    "options",
    [
        (SEVEN, "--requests", 5, "--hours", 10),
        ("DeepSeek-R1", "--requests", 0.3),
        ("DeepSeek-V4-Flash",),
        (SEVEN, "--budget", 1),
    ],
    ids=["small", "large", "hosted alone", "nothing suits"],
)
def test_the_page_of_a_comparison_is_self_contained(
    tmp_path: Path, options: tuple[object, ...]
) -> None:
    alone(recommended(tmp_path, *options))


def leaves(value: Any) -> Any:
    """Return the value with every string replaced by hostile markup."""
    if isinstance(value, dict):
        return {key: leaves(part) for key, part in value.items()}
    if isinstance(value, list):
        return [leaves(part) for part in value]
    return HOSTILE if isinstance(value, str) else value


def data(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(deepseek(*arguments, "-o", "json", "--as-of", DAY).out)
    return found


def test_no_value_becomes_markup() -> None:
    plan = leaves(data("plan", EXAMPLES / "sizes/r1-distill-qwen-7b.yaml"))
    curve = Curve(HOSTILE, HOSTILE, 10.0, (1.0, 2.0))
    comparison = leaves(data("recommend", SEVEN))
    requirements = Requirements(SEVEN, Load(1.0, 512, 128))
    for text in (
        plan_page.page(plan, [curve], TODAY),
        comparison_page.page(comparison, by_load(requirements, prices(), TODAY), TODAY),
    ):
        page = Page(text)
        alone(page)
        assert "<script>alert(1)</script>" in page.words
        assert HOSTILE not in text


def test_a_served_name_is_escaped(tmp_path: Path) -> None:
    file = resource(tmp_path, model={"id": SEVEN, "servedName": "<script>x</script>"})
    page = planned(tmp_path, file)
    alone(page)
    assert "model name <script>x</script>" in page.words


def test_memory_matches_the_plan(tmp_path: Path) -> None:
    path = EXAMPLES / "sizes/r1-distill-qwen-7b.yaml"
    sizes = data("plan", path)["fit"]["bytesOfGpu"]
    parts = plan_page.memory(sizes)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert parts[0].share == pytest.approx(sizes["weights"] / sizes["total"])
    assert [part.start for part in parts] == sorted(part.start for part in parts)
    page = planned(tmp_path, path)
    assert f"{sizes['weights'] / 1e9:,.1f} GB" in page.words
    widths = [
        float(str(a["width"])) for tag, a in page.tags if tag == "rect" and a["height"] == "36"
    ]
    assert sum(widths) == pytest.approx(520, abs=0.5)


def test_error_bars_match_the_prediction() -> None:
    performance = data("plan", EXAMPLES / "sizes/r1-distill-qwen-7b.yaml")["performance"]
    picture = plan_page.speed(performance)
    assert picture is not None
    (line,) = picture.lines
    (_, low, high), (_, place) = line.whiskers[-1], line.dots[-1]
    up = Axis(0.0, 1.0, low, high)
    # The coordinate of the value is in the middle of its error bar.
    assert place == pytest.approx((low + high) / 2, abs=0.2)
    assert up.place(0.5) == pytest.approx(place, abs=0.2)
    rate, error = performance["ofReplica"][-1]["outputTokensPerSecond"], performance["error"]
    assert picture.table.rows[-1][2:4] == (
        f"{rate * (1 - error):,.0f}",
        f"{rate * (1 + error):,.0f}",
    )


def test_the_cost_curve_matches_the_plan(tmp_path: Path) -> None:
    """At one full replica the chart has the price of the table, and at two replicas twice that."""
    file = resource(tmp_path, model={"id": SEVEN}, accelerator={"profile": "nvidia-h100"})
    rows = data("plan", file)["cost"]["offers"]
    page = planned(tmp_path, file)
    first = min(row["perHour"] for row in rows if row["terms"] == "on demand")
    assert f" {first:,.2f} " in page.words
    assert f" {2 * first:,.2f} " in page.words


def test_a_hosted_api_has_no_curve_if_the_gpus_have_no_price(tmp_path: Path) -> None:
    own = tmp_path / "prices.yaml"
    service = {"provider": "acme", "models": ["DeepSeek-R1-Distill-Qwen-7B"], "cached": 0}
    service |= {"input": 0.2, "output": 0.2, "asOf": "2026-11-01", "source": "an offer"}
    own.write_text(yaml.safe_dump({"hosted": [service]}))
    for kind, shown in (("nvidia-h100", True), ("nvidia-h20", False)):
        file = resource(tmp_path, model={"id": SEVEN}, accelerator={"profile": kind})
        page = planned(tmp_path, file, "--prices", own)
        alone(page)
        assert ("Hourly cost by load" in page.words) == shown
        assert ("acme" in page.words) == shown


def test_large_replica_counts_are_limited(tmp_path: Path) -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 1000}
    accelerator = {"profile": "nvidia-l4"}
    file = resource(tmp_path, model={"id": SEVEN}, accelerator=accelerator, scaling=scaling)
    page = planned(tmp_path, file)
    alone(page)
    assert len([tag for tag, _ in page.tags if tag == "tr"]) < 80


def test_the_cost_curve_steps_up_at_a_full_replica() -> None:
    curve = Curve("on demand", "", 10.0, (1.0, 2.0, 3.0))
    assert [curve.at(load) for load in (0, 10, 10.1, 20, 30)] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert Curve("hosted", "", 10.0, each=0.5).at(2) == 3600


def test_placement_of_a_replica_over_several_nodes_and_groups() -> None:
    shape = {"podsOfReplica": 4, "tensor": 8, "pipeline": 4, "data": 1, "gpus": {"ofReplica": 32}}
    place = placement(shape, "4 pods of 8 x nvidia-a100-80gb")
    assert place is not None
    assert [row[3] for row in place.table.rows] == ["1", "2", "3", "4"]
    assert {len(pod) for pod in place.pods} == {8}
    assert place.pods[3][7] == Gpu(rank=31, shard=8, group=4)
    across = placement({**shape, "tensor": 32, "pipeline": 1}, "")
    assert across is not None
    assert [row[2] for row in across.table.rows] == ["1 to 8", "9 to 16", "17 to 24", "25 to 32"]


def test_a_break_even_point_changes_the_cheapest_option() -> None:
    compared = by_load(Requirements(SEVEN, Load(5.0, 512, 128, hours=10)), prices(), TODAY)
    found = turns(compared)
    assert found
    by_rate = {each.requests: each.cheapest for each in compared}
    for turn in found:
        cheapest = by_rate[turn.requests]
        assert cheapest is not None
        assert (cheapest.way, cheapest.per_month) == (turn.after, turn.per_month)
        assert turn.before != turn.after


def test_an_unwritable_file_is_named(tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "plan.html"
    result = deepseek("plan", EXAMPLES / "minimal.yaml", "--html", out)
    assert (result.code, f"{out} can't be written" in result.err) == (2, True)


def test_a_refused_plan_writes_no_page(tmp_path: Path) -> None:
    file = resource(
        tmp_path, model={"id": "deepseek-ai/DeepSeek-V3"}, accelerator={"profile": "nvidia-l4"}
    )
    assert deepseek("plan", file, "--html", tmp_path / "plan.html").code == 1
    assert not (tmp_path / "plan.html").exists()


def positive() -> st.SearchStrategy[float]:
    return st.floats(1e-6, 1e12)


@given(positive(), st.floats(1.001, 1e9), st.booleans(), st.data())
def test_axis_positions_are_monotonic(low: float, ratio: float, log: bool, data: Any) -> None:
    axis = Axis(low if log else 0.0, low * ratio, 100, 500, log)
    first, second = sorted(data.draw(st.tuples(*[st.floats(axis.low, axis.high)] * 2)))
    assert 100 <= axis.place(first) <= axis.place(second) <= 500
    marks = axis.marks()
    assert marks == sorted(marks)
    assert len(marks) <= 8
    assert all(axis.low * 0.99 <= mark <= axis.high * 1.01 for mark in marks)


@given(st.lists(positive(), min_size=1))
def test_around_encloses_all_values(values: list[float]) -> None:
    low, high = around(values)
    assert low <= min(values) * 1.000001
    assert high >= max(values) * 0.999999
