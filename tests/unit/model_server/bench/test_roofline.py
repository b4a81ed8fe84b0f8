"""Limits, held against numbers worked out by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.bench import profiles
from deepseek_server.bench.accelerators import KNOWN, Accelerator
from deepseek_server.bench.roofline import (
    closed_limit,
    decode_seconds,
    prefill_seconds,
    shape,
)

QWEN = shape(profiles.configuration("qwen-7b"))
LITE = shape(profiles.configuration("v2-lite"))


def test_the_shape_of_a_dense_model() -> None:
    # 28 layers with 4 heads of 128 numbers, keys and values
    assert QWEN.cached == 28 * 2 * 4 * 128
    assert QWEN.attended == 28 * 2 * 28 * 128
    # 7.616 billion without the 152064 x 3584 of the embedding
    assert QWEN.active == QWEN.shared == pytest.approx(7.616e9 - 152064 * 3584, abs=1e6)
    assert QWEN.weights_read(1) == QWEN.weights_read(500) == QWEN.shared


def test_the_shape_of_a_model_of_experts() -> None:
    # 27 layers with latents of 512 and 64 rotated numbers
    assert LITE.cached == 27 * 576
    assert (LITE.experts, LITE.chosen, LITE.routed_layers) == (64, 6, 26)
    assert LITE.expert == 3 * 2048 * 1408
    # DeepSeek-V2-Lite has 2.4 billion active parameters (arXiv 2405.04434, appendix B)
    assert LITE.active == pytest.approx(2.4e9, rel=0.03)
    assert LITE.weights_read(1) == pytest.approx(LITE.active)
    # Two tokens share an expert with a probability of 6 in 64.
    assert LITE.weights_read(2) - LITE.shared == pytest.approx(26 * LITE.expert * (12 - 6 * 6 / 64))
    assert LITE.weights_read(10_000) == pytest.approx(LITE.shared + 26 * 64 * LITE.expert)


def test_one_sequence_is_bound_by_memory_and_prompts_by_arithmetic() -> None:
    device = KNOWN["h200"]
    read = 2 * (QWEN.shared + 1000 * QWEN.cached)
    assert decode_seconds(QWEN, device, 1, 1000) == pytest.approx(read / 4.8e12)
    operations = 2 * 4096 * (QWEN.active - QWEN.head + 2048 * QWEN.attended) + 2 * QWEN.head
    assert prefill_seconds(QWEN, device, 1, 4096) == pytest.approx(operations / 989e12)


def test_a_tied_head_is_met_too() -> None:
    tied = shape(profiles.configuration("qwen-7b") | {"tie_word_embeddings": True})
    assert tied.active == QWEN.active


@given(
    st.sampled_from(profiles.NAMES),
    st.integers(1, 512),
    st.integers(1, 4096),
    st.integers(2, 1000),
    st.floats(1.1, 10),
)
def test_limits_are_consistent(
    profile: str, at_once: int, prompt: int, answer: int, factor: float
) -> None:
    config = profiles.configuration(profile)

    def limit(bandwidth: float, flops: float) -> dict[str, Any]:
        device = Accelerator("x", bandwidth, flops, "")
        return closed_limit(config, device, at_once, prompt, answer)

    here = limit(1e12, 1e14)
    both = limit(1e12 * factor, 1e14 * factor)
    name = "output_tokens_per_second"
    assert both[name] == pytest.approx(factor * here[name], rel=1e-2, abs=1)
    for faster in (limit(1e12 * factor, 1e14), limit(1e12, 1e14 * factor)):
        assert here[name] <= faster[name] <= both[name] + 1
    assert here[name] <= here["decode_tokens_per_second"] * answer / (answer - 1) + 1
