"""Models that are not in the catalogue."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.catalog.models import Model
from deepseek_operator.catalog.shape import NUMBERS
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.state.observed import ConfigFile, NodeView, Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.status.conditions import condition
from tests.support.operator.resources import NOW, SETTINGS, TUNED, node, resource
from tests.unit.operator.plan.sizing.deciding import H200, L4, QWEN_32B, decided, desired, known

FILE = ConfigFile("", "someone/tuned", "main")


def read(**changes: Any) -> ConfigFile:
    return ConfigFile("", "someone/tuned", "main", content={**TUNED, **changes})


def test_config_json_sizes_an_unknown_model() -> None:
    made = desired("someone/tuned", profile="nvidia-l4", config=read())
    assert str(made.gpus) == "4 x nvidia-l4"
    assert not made.sizing.note


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (None, "only from the hub of its installation"),
        (ConfigFile("", "someone/tuned", "main", problem="the hub says 404"), "the hub says 404"),
        (read(model_type="mamba"), "does not serve model_type 'mamba'"),
        (read(hidden_size=None), "config.json lacks hidden_size"),
        (read(quantization_config={"quant_method": "awq"}), "quantization is not supported (awq)"),
    ],
)
def test_unknown_size_is_accepted_with_a_note(config: ConfigFile | None, why: str) -> None:
    made = desired("someone/tuned", profile="nvidia-l4", config=config)
    assert str(made.gpus) == "1 x nvidia-l4"
    body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-l4"})
    accepted = condition(report(body, made, Observed(), NOW).status, "Accepted")
    assert accepted["status"] == "True"
    assert "Whether the model fits was not checked" in accepted["message"]
    assert why in accepted["message"]


def test_weights_on_a_volume_are_not_read() -> None:
    source = {"source": {"pvc": {"claimName": "models"}}}
    made = desired("v3", asked=source, profile="nvidia-h200", count=8)
    assert "does not read weights on a volume" in made.sizing.note
    assert made.config["tensorParallel"] == 8


def test_unreachable_config_json_keeps_the_sizing() -> None:
    body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-l4"})
    before = desired("someone/tuned", profile="nvidia-l4", config=read())
    status = report(body, before, Observed(), NOW).status
    after = desired("someone/tuned", status=status, profile="nvidia-l4", config=None)
    assert after.config == before.config
    assert after.gpus == before.gpus


def test_choice_and_sizing_survive_other_edits() -> None:
    kinds = {"profiles": ["nvidia-h200", "nvidia-l4"]}
    body = resource(model={"id": "someone/tuned"}, accelerator=kinds)
    l4, h200 = node("b", 8, **L4), node("a", 8, **H200)
    before = desired("someone/tuned", [l4], config=read(), **kinds)
    status = report(body, before, Observed(), NOW).status
    assert status["resolved"]["profile"] == "nvidia-l4"
    edited = resource(
        status, generation=2, model={"id": "someone/tuned"}, accelerator=kinds, replicas=3
    )
    nodes = tuple(map(NodeView.of, (h200, l4)))
    after = decide(edited, SETTINGS, Observed(nodes=nodes))
    assert isinstance(after, DesiredState)
    assert after.config == before.config
    assert after.gpus == before.gpus
    assert report(edited, after, Observed(), NOW).status["resolved"] == status["resolved"]


def test_sizing_of_another_model_is_not_reused() -> None:
    body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-l4"})
    before = desired("someone/tuned", profile="nvidia-l4", config=read())
    status = report(body, before, Observed(), NOW).status
    other = desired("someone/other", status=status, profile="nvidia-l4")
    assert str(other.gpus) == "1 x nvidia-l4"
    assert other.config["model"]["maxContext"] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FIELDS = [*NUMBERS, "layer_types", "compress_ratios", "compress_rates", "quantization_config"]
TYPES = ["llama", "qwen2", "deepseek_v3", "deepseek_v32", "deepseek_v4"]
KNOWN = [known(name) for name in ("DeepSeek-V3.2", "DeepSeek-V4-Flash", "deepseek-llm-7b-base")]


@given(
    st.sampled_from(KNOWN),
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from([*FIELDS, "torch_dtype", "use_sliding_window"]), JSON),
    st.none() | st.integers(1, 8),
)
@settings(max_examples=400, deadline=None)
def test_any_config_json_gives_a_decision(
    model: Model, model_type: str, changes: dict[str, Any], count: int | None
) -> None:
    content = {**model.shape.config, "model_type": model_type, **changes}
    file = ConfigFile("", "someone/tuned", "main", content=content)
    decision = decided("someone/tuned", config=file, profile="nvidia-b200", count=count)
    assert isinstance(decision, DesiredState | Refusal)
    if isinstance(decision, DesiredState):
        body = resource(model={"id": "someone/tuned"}, accelerator={"profile": "nvidia-b200"})
        assert report(body, decision, Observed(), NOW).status["resolved"]["tensorParallel"] >= 1


def test_status_has_the_resolved_sizing() -> None:
    body = resource(model={"id": QWEN_32B}, accelerator={"profile": "nvidia-h100"})
    status = report(body, desired(QWEN_32B, profile="nvidia-h100"), Observed(), NOW).status
    resolved = status["resolved"]
    assert resolved["accelerator"] == "1 x nvidia-h100"
    assert resolved["tensorParallel"] == 1
    assert resolved["dtype"] == "bfloat16"
    assert resolved["weightBytesPerGpu"] == pytest.approx(65.5e9, rel=0.01)
    assert 0 < resolved["cacheBytesPerGpu"] < 20e9
    assert 40_000 < resolved["maxContext"] < 50_000
    assert re.fullmatch(
        r"requests at once: 1 of 4\d,\d{3} tokens, or 1\d of 4,096 tokens", resolved["concurrency"]
    )
