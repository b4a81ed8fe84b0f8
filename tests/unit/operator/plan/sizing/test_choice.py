"""Messages of sizing, and the choice among several profiles."""

import re
from typing import Any

import pytest

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.sizing import refusals as misfit
from deepseek_operator.plan.sizing.fit import LEAST_CONTEXT
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from tests.support.operator.resources import NOW, SETTINGS, node, resource
from tests.unit.operator.plan.sizing.deciding import (
    H200,
    L4,
    QWEN_7B,
    QWEN_32B,
    decided,
    desired,
    refusal,
)


def test_server_config_has_the_sizing() -> None:
    made = desired(QWEN_32B, profile="nvidia-l4")
    config = made.config
    assert config["tensorParallel"] == 4
    assert config["device"] == "cuda"
    assert config["model"]["dtype"] == "bfloat16"
    assert config["model"]["maxContext"] % 1024 == 0
    assert LEAST_CONTEXT <= config["model"]["maxContext"] < 131_072
    assert str(made.gpus) == "4 x nvidia-l4"


def test_full_context_and_single_gpu_are_left_to_the_server() -> None:
    config = desired(QWEN_7B, profile="nvidia-h200").config
    assert config["model"]["maxContext"] is None
    assert "tensorParallel" not in config


def test_gpu_without_bfloat16_uses_float16() -> None:
    made = desired(QWEN_7B, profile="nvidia-t4")
    assert made.config["model"]["dtype"] == "float16"
    refused = refusal(QWEN_7B, asked={"dtype": "bfloat16"}, profile="nvidia-t4")
    assert refused.reason == misfit.TYPE_UNSUPPORTED
    assert "Set model.dtype to float16 or float32" in refused.message
    refused = refusal("deepseek-ai/DeepSeek-V4-Flash", profile="nvidia-t4")
    assert "can't run in float16" in refused.message


def test_message_for_a_model_that_is_too_large() -> None:
    refused = refusal(QWEN_32B, [node("a", 8, **H200)], profile="nvidia-l4", count=2)
    assert refused.message == (
        f"{QWEN_32B} does not fit on 2 x nvidia-l4. Each GPU has 24.2 GB: driver and libraries take "
        "2.6 GB, the weights 33.5 GB, activations and CUDA graphs 1.7 GB; no memory is left for the "
        "KV cache. What would fit: accelerator.count 4, or "
        "1 x nvidia-h200, or 1 x nvidia-h100, or 1 x nvidia-a100-80gb."
    )


def test_context_that_does_not_fit_gets_alternatives() -> None:
    refused = refusal(QWEN_32B, asked={"maxContext": 131_072}, profile="nvidia-h100", count=1)
    assert refused.reason == misfit.DOES_NOT_FIT
    assert ", 131072 are required" in refused.message
    assert "accelerator.count 2" in refused.message
    assert re.search(r"model\.maxContext 4\d{4}, or", refused.message)


def test_context_beyond_the_model_is_refused_on_the_cpu() -> None:
    body = resource(model={"id": QWEN_7B, "maxContext": 200_000})
    refused = decide(body, SETTINGS, Observed())
    assert isinstance(refused, Refusal)
    assert refused.reason == misfit.CONTEXT_TOO_LONG
    assert "Set it to 131072 or less" in refused.message


@pytest.mark.parametrize(
    ("name", "count", "text"),
    [
        ("DeepSeek-R1-Distill-Qwen-7B", 3, "3 does not divide its 28 attention heads"),
        ("DeepSeek-R1-Distill-Qwen-7B", 3, "accelerator.count 1, or accelerator.count 2, or"),
        ("deepseek-coder-5.7bmqa-base", 2, "its 1 key-value heads"),
        ("DeepSeek-V3", 128, "splits a model over at most 64 GPUs"),
        ("DeepSeek-V4-Flash", 8, "does not split deepseek_v4 models over several GPUs"),
    ],
)
@pytest.mark.parametrize("kind", [{}, {"profile": "nvidia-h200"}])
def test_uneven_numbers_of_gpus_are_refused(
    name: str, count: int, text: str, kind: dict[str, str]
) -> None:
    refused = refusal(f"deepseek-ai/{name}", count=count, **kind)
    assert refused.reason == misfit.UNEVEN_SPLIT
    assert text in refused.message


def test_gpu_slices_can_not_be_combined() -> None:
    made = desired("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", profile="nvidia-h100-mig-3g.40gb")
    assert made.gpus is not None
    assert (made.gpus.resource, made.gpus.count) == ("nvidia.com/mig-3g.40gb", 1)
    refused = refusal(QWEN_7B, profile="nvidia-h100-mig-3g.40gb", count=2)
    assert "GPU slices can't communicate with each other" in refused.message


# Several acceptable profiles.

BOTH = ["nvidia-h200", "nvidia-l4"]


def chosen(nodes: list[dict[str, Any]], status: dict[str, Any] | None = None) -> str:
    return str(desired(QWEN_32B, nodes, status, profiles=BOTH).gpus)


def test_first_profile_with_nodes_is_chosen() -> None:
    h200, l4 = node("a", 8, **H200), node("b", 8, **L4)
    assert chosen([h200, l4]) == "1 x nvidia-h200"
    assert chosen([l4]) == "4 x nvidia-l4"
    assert chosen([]) == "1 x nvidia-h200"
    assert chosen([node("b", 2, **L4)]) == "1 x nvidia-h200", "the nodes have too few"


def test_choice_is_kept_while_it_has_nodes() -> None:
    h200, l4 = node("a", 8, **H200), node("b", 8, **L4)
    made = desired(QWEN_32B, [l4], profiles=BOTH)
    body = resource(model={"id": QWEN_32B}, accelerator={"profiles": BOTH})
    status = report(body, made, Observed(), NOW).status
    assert status["resolved"]["profile"] == "nvidia-l4"
    assert chosen([h200, l4], status) == "4 x nvidia-l4"
    assert chosen([h200], status) == "1 x nvidia-h200"
    assert chosen([], status) == "4 x nvidia-l4"


def test_small_profiles_are_skipped_and_all_are_named_in_a_refusal() -> None:
    made = desired("deepseek-ai/DeepSeek-R1", profiles=["nvidia-h100", "nvidia-h200"])
    assert str(made.gpus) == "8 x nvidia-h200"
    refused = refusal("deepseek-ai/DeepSeek-R1", profiles=["nvidia-h100", "nvidia-l4"])
    assert "does not fit on 8 x nvidia-h100" in refused.message
    assert "does not fit on 8 x nvidia-l4" in refused.message
    assert "8 x nvidia-h200" in refused.message


# A number of GPUs without a profile.


def test_nodes_decide_the_fit_without_changing_pods() -> None:
    with_nodes = desired(QWEN_7B, [node("a", 8, **H200)], count=1)
    without = desired(QWEN_7B, count=1)
    assert with_nodes.config == without.config
    assert with_nodes.sizing.memory is not None
    assert without.sizing.memory is None
    assert "the node labels don't show the GPU model" in without.sizing.note


def test_model_that_fits_on_no_node_is_refused() -> None:
    refused = refusal(
        "deepseek-ai/DeepSeek-R1", [node("a", 8, **L4), node("b", 8, **H200)], count=1
    )
    assert "does not fit on 1 x nvidia-h200" in refused.message
    assert "does not fit on 1 x nvidia-l4" in refused.message
    assert isinstance(decided("deepseek-ai/DeepSeek-R1", [node("a", 8)], count=8), DesiredState)


def test_nodes_without_fit_are_named_in_a_note() -> None:
    made = desired(QWEN_32B, [node("a", 8, **L4), node("b", 8, **H200)], count=1)
    assert "It does not fit on nodes with nvidia-l4" in made.sizing.note
