"""Memory use of models against published requirements and measurements."""

import pytest

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.plan.sizing import refusals as misfit
from deepseek_operator.plan.sizing.memory import Memory
from tests.unit.operator.plan.sizing.deciding import desired, known, refusal

# Model, profile, and the minimum of GPUs that a publication recommends or that arithmetic allows.
# docs/sizing.md has the sources.
PUBLISHED = [
    ("DeepSeek-V2-Lite", "nvidia-a100-40gb", 1),  # its model card
    ("DeepSeek-V2.5", "nvidia-a100-80gb", 8),  # its model card, for bf16
    ("DeepSeek-V2.5", "nvidia-h100", 8),
    ("DeepSeek-V3", "nvidia-h200", 8),  # SGLang's documentation, fp8
    ("DeepSeek-R1", "nvidia-h200", 8),
    ("DeepSeek-V3.1", "nvidia-b200", 8),
    ("DeepSeek-V3", "amd-mi300x", 8),
    ("DeepSeek-R1-Distill-Qwen-1.5B", "nvidia-t4", 1),
    ("DeepSeek-R1-Distill-Qwen-7B", "nvidia-l4", 1),  # 24 GB
    ("DeepSeek-R1-Distill-Llama-8B", "nvidia-a10g", 1),  # 24 GB
    ("DeepSeek-R1-Distill-Qwen-14B", "nvidia-a100-40gb", 1),  # 40 GB
    ("DeepSeek-R1-Distill-Qwen-32B", "nvidia-h100", 1),
    ("DeepSeek-R1-Distill-Qwen-32B", "nvidia-l4", 4),
    ("DeepSeek-R1-Distill-Qwen-32B", "nvidia-a10g", 4),
    ("DeepSeek-R1-Distill-Llama-70B", "nvidia-h200", 2),
]
# Profiles of which one node is too small: SGLang's documentation requires several.
TOO_SMALL = [
    ("DeepSeek-V3", "nvidia-h100"),
    ("DeepSeek-V3", "nvidia-a100-80gb"),
    ("DeepSeek-R1", "nvidia-l40s"),
    ("DeepSeek-V4-Pro", "nvidia-b200"),
]


@pytest.mark.parametrize(("name", "kind", "count"), PUBLISHED)
def test_minimum_gpus_match_published_ones(name: str, kind: str, count: int) -> None:
    gpus = desired(f"deepseek-ai/{name}", profile=kind).gpus
    assert gpus is not None
    assert (gpus.profile, gpus.count) == (kind, count)


@pytest.mark.parametrize(("name", "kind"), TOO_SMALL)
def test_model_larger_than_a_node_is_refused(name: str, kind: str) -> None:
    found = refusal(f"deepseek-ai/{name}", profile=kind)
    assert found.reason == misfit.DOES_NOT_FIT
    assert "GB" in found.message


# Tokens in the server's KV cache on one H200, with FlashInfer and CUDA graphs, 2026-11-30: models of
# these shapes in bfloat16 (hack/gpu/memory.py).
MEASURED = {
    "DeepSeek-R1-Distill-Qwen-7B": 2_271_808,
    "DeepSeek-V2-Lite": 3_690_240,
}


@pytest.mark.parametrize("name", MEASURED)
def test_kv_cache_is_within_one_percent_of_the_measured_size(name: str) -> None:
    memory = Memory(known(name), accelerators().profiles["nvidia-h200"], 1, "bfloat16")
    assert 0.99 * MEASURED[name] <= memory.longest <= MEASURED[name]


# Bytes of weights and of the largest step on one H100, 2026-11-25: the first of so many processes,
# in bfloat16, run without the others; without latent attention.
SPLIT = [
    ("DeepSeek-R1-Distill-Qwen-7B", 2, 8_161_605_632, 704_970_752),
    ("DeepSeek-R1-Distill-Qwen-7B", 4, 4_626_157_568, 471_924_736),
    ("DeepSeek-V2-Lite", 1, 31_494_758_400, 643_891_200),
    ("DeepSeek-V2-Lite", 2, 15_970_590_720, 443_908_608),
    ("DeepSeek-V3", 4, None, 1_605_567_488),  # two layers of it, both with experts
    ("DeepSeek-V3", 8, None, 1_572_013_056),
]


@pytest.mark.parametrize(("name", "gpus", "weights", "step"), SPLIT)
def test_split_weights_and_steps_match_measurements(
    name: str, gpus: int, weights: int | None, step: int
) -> None:
    memory = Memory(known(name), accelerators().profiles["nvidia-a100-80gb"], gpus, "bfloat16")
    assert weights is None or memory.weights == pytest.approx(weights, rel=0.003)
    assert 0.98 * step <= memory.step <= 1.10 * step
