"""Helpers: the decision for a model on given nodes."""

from typing import Any

from deepseek_operator.catalog.models import Model, models
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.sizing.parallelism import GROUPS
from deepseek_operator.plan.state.observed import ConfigFile, NodeView, Observed
from deepseek_operator.plan.state.refusal import Refusal
from tests.support.operator.resources import SETTINGS, resource

H200 = {"nvidia.com/gpu.product": "NVIDIA-H200"}
L4 = {"nvidia.com/gpu.product": "NVIDIA-L4"}
QWEN_7B = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
QWEN_32B = "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"


def known(name: str) -> Model:
    model = models().get(f"deepseek-ai/{name}")
    assert model is not None
    return model


def decided(
    model: str,
    nodes: list[dict[str, Any]] | None = None,
    status: dict[str, Any] | None = None,
    config: ConfigFile | None = None,
    asked: dict[str, Any] | None = None,
    parallelism: dict[str, Any] | None = None,
    **accelerator: Any,
) -> DesiredState | Refusal:
    body = resource(
        status,
        model={"id": model, **(asked or {})},
        accelerator=accelerator,
        parallelism=parallelism,
    )
    views = tuple(map(NodeView.of, nodes or []))
    observed = Observed(nodes=views, config=config, served=frozenset({GROUPS}))
    return decide(body, SETTINGS, observed)


def desired(*args: Any, **accelerator: Any) -> DesiredState:
    decision = decided(*args, **accelerator)
    assert isinstance(decision, DesiredState), decision
    return decision


def refusal(*args: Any, **accelerator: Any) -> Refusal:
    decision = decided(*args, **accelerator)
    assert isinstance(decision, Refusal), decision
    return decision
