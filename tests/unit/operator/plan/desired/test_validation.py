"""Specs that pass the CRD schema and that the operator refuses."""

import pytest

from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.desired import validation as checks
from deepseek_operator.plan.plan import decide
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from tests.support.operator.resources import SETTINGS, resource


def refusal(**spec: object) -> Refusal:
    decision = decide(resource(**spec), SETTINGS, Observed())
    assert isinstance(decision, Refusal)
    return decision


def test_unknown_model_is_refused_with_suggestions() -> None:
    refused = refusal(model={"id": "deepseek-ai/DeepSeek-V1.5"})
    assert refused.reason == checks.UNKNOWN_MODEL
    assert "deepseek-ai/DeepSeek-V1.5" in refused.message
    assert "Did you mean deepseek-ai/DeepSeek-V2.5" in refused.message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("deepseek-ai/R1", "DeepSeek-R1"),
        ("deepseek/DeepSeek-R1", "DeepSeek-R1"),
        ("deepseek-ai/r1-distill-qwen-7b", "DeepSeek-R1-Distill-Qwen-7B"),
        ("DeepSeekAI/deepseek_v3.1", "DeepSeek-V3.1"),
        ("deepseek-ai/DeepSeek-V2_5", "DeepSeek-V2.5"),
        ("deepseek-ai/coder-33b-instruct", "deepseek-coder-33b-instruct"),
    ],
)
def test_misspelled_model_gets_the_right_suggestion(written: str, meant: str) -> None:
    refused = refusal(model={"id": written})
    assert refused.reason == checks.UNKNOWN_MODEL
    assert f"Did you mean deepseek-ai/{meant}?" in refused.message


@pytest.mark.parametrize(
    "model",
    [
        {"id": "someone/R1"},
        {"id": "deepseek-ai/DeepSeek-V3"},
        {"id": "deepseek-ai/deepseek-v3"},
        {"id": "someone/DeepSeek-V1.5-finetuned"},
        {"id": "deepseek-ai/DeepSeek-V9", "source": {"huggingFace": {}}},
        {"id": "deepseek-ai/DeepSeek-V9", "source": {"hostPath": {"path": "/models/v9"}}},
    ],
)
def test_known_models_and_models_with_a_source_pass(model: dict[str, object]) -> None:
    assert not isinstance(decide(resource(model=model), SETTINGS, Observed()), Refusal)


def test_unknown_profile_is_refused_with_similar_ones() -> None:
    refused = refusal(accelerator={"profile": "nvidia-h300"})
    assert refused.reason == checks.UNKNOWN_PROFILE
    assert "nvidia-h200" in refused.message


def test_unknown_profile_among_several_is_refused() -> None:
    refused = refusal(accelerator={"profiles": ["nvidia-h200", "nvidia-h300"]})
    assert refused.reason == checks.UNKNOWN_PROFILE
    assert "nvidia-h300 is not in the catalogue" in refused.message


def test_field_of_a_missing_api_is_refused_with_the_install_command() -> None:
    refused = refusal(observability={"podMonitor": True})
    assert refused.reason == checks.API_MISSING
    assert "observability.podMonitor needs the kind PodMonitor" in refused.message
    assert "kubectl apply" in refused.message
    there = Observed(served=frozenset({"PodMonitor"}))
    body = resource(observability={"podMonitor": True})
    assert not isinstance(decide(body, SETTINGS, there), Refusal)


def test_every_needed_api_has_an_install_command() -> None:
    kinds = {kind for kind, _, _ in checks.NEEDED_APIS}
    assert kinds
    assert kinds <= install_commands().keys()


def test_unreadable_spec_is_refused() -> None:
    refused = refusal(replicas="many")
    assert refused.reason == "SpecUnreadable"
    assert "spec.replicas" in refused.message
