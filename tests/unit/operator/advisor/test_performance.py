"""Performance predictions against measurements (docs/performance.md) and estimates of others."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.advisor.performance import Speed, deviation_of_ratio, error, predicted
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.performance import Point, performance
from deepseek_operator.plan.sizing.fit import compute_type, smallest
from deepseek_operator.plan.sizing.memory import Memory
from tests.support.repository import ROOT

DOCS = ROOT / "docs" / "performance.md"
NAMES = [name for name in models() if models().get(name) is not None]
KINDS = [name for name in accelerators().profiles if name.startswith("nvidia")]


def named(load: Point) -> str:
    return f"{load.model} on {load.gpus} x {load.profile}, {load.at_once} at once"


def speed(name: str, kind: str, gpus: int = 1) -> Speed:
    model, profile = models().get(f"deepseek-ai/{name}"), accelerators().profiles[kind]
    assert model is not None
    return Speed(Memory(model, profile, gpus, compute_type("auto", model, profile)), kind)


@pytest.mark.parametrize("point", performance().measured, ids=named)
def test_prediction_is_within_30_percent_of_measurements(point: Point) -> None:
    assert predicted(point) == pytest.approx(point.per_second, rel=0.3)


@pytest.mark.parametrize("point", performance().measured, ids=named)
def test_measurements_match_the_docs(point: Point) -> None:
    text = DOCS.read_text(encoding="utf-8")
    section = text[text.index("| R1-Distill-Qwen-7B | Floor") :]
    if "V2" in point.model:
        section = section[section.index("| V2-Lite | Floor") :]
    row = re.search(rf"^\| n{point.at_once}\b[^|]*\|[^|]*\|[^|]*\| ([\d,]+)", section, re.MULTILINE)
    assert row is not None
    assert float(row[1].replace(",", "")) == point.per_second


@pytest.mark.parametrize("point", performance().estimated, ids=named)
def test_prediction_is_within_40_percent_of_other_estimates(point: Point) -> None:
    assert predicted(point) == pytest.approx(point.per_second, rel=0.4)


@pytest.mark.parametrize("gpus", [8, 32])
@pytest.mark.parametrize("name", ["DeepSeek-V2-Lite", "DeepSeek-V3", "DeepSeek-R1-Distill-Qwen-7B"])
def test_large_step_reads_all_weights_but_the_embedding(name: str, gpus: int) -> None:
    all_of = speed(name, "nvidia-h200", gpus)
    shape = all_of.memory.model.shape
    embedding = shape.vocabulary * shape.hidden * all_of.memory.widths.plain
    assert all_of._read(1_000_000) == pytest.approx(all_of.memory.weights - embedding, abs=1)


def test_speed_up_of_several_gpus_is_within_20_percent() -> None:
    assert max(map(deviation_of_ratio, performance().split)) < 0.2


def test_error_depends_on_the_available_measurements() -> None:
    lite, llama = (models().get(f"deepseek-ai/DeepSeek-{name}") for name in ("V2-Lite", "R1"))
    assert lite is not None
    assert llama is not None
    assert error(llama, "nvidia-l40s", 1) == error(llama, "nvidia-b200", 1)
    own, basis = error(lite, "nvidia-h200", 1)
    assert 0.05 <= own < 0.1
    assert basis == "this model was measured on this kind of GPU"
    same, elsewhere = error(llama, "nvidia-h200", 1)[0], error(llama, "nvidia-b200", 1)
    assert own < same <= elsewhere[0]
    assert "other kinds of GPU" in elsewhere[1]
    assert error(lite, "nvidia-h200", 2)[0] > own


def test_ttft_and_itl_add_up_to_the_rate() -> None:
    found = speed("DeepSeek-R1-Distill-Qwen-7B", "nvidia-h200").at(32, 512, 128)
    assert 32 * 128 / (found.ttft + 127 * found.itl) == pytest.approx(found.per_second)
    assert found.requests(128) == pytest.approx(found.per_second / 128)


@pytest.mark.parametrize("name", ["DeepSeek-V4-Flash", "DeepSeek-V3.2"])
def test_speed_of_plain_and_sparse_attention_is_unknown(name: str) -> None:
    assert not speed(name, "nvidia-b200").known


@given(st.sampled_from(NAMES), st.sampled_from(KINDS), st.integers(1, 200), st.integers(16, 4096))
@settings(max_examples=100, deadline=None)
def test_more_concurrency_raises_throughput_and_latency(
    name: str, kind: str, at_once: int, prompt: int
) -> None:
    model, profile = models().get(name), accelerators().profiles[kind]
    assert model is not None
    memory = smallest(model, kind, compute_type("auto", model, profile), 1024)
    if memory is None or not Speed(memory, kind).known:
        return
    found = Speed(memory, kind)
    few, many = found.at(at_once, prompt, 128), found.at(at_once + 8, prompt, 128)
    assert many.per_second >= few.per_second * 0.999
    assert many.itl >= few.itl * 0.999
    assert few.ttft > 0
