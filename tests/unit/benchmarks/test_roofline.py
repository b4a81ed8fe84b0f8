"""Limits, compared with numbers computed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.server.__main__ import main
from benchmarks.server.accelerators import KNOWN, Accelerator
from benchmarks.server.failures import BenchError
from benchmarks.server.model import profiles
from benchmarks.server.model.make_model import write_model
from benchmarks.server.roofline import (
    closed_limit,
    decode_bytes,
    decode_seconds,
    prefill_seconds,
    shape,
)
from benchmarks.server.steps.one_rank import OneRankAlone
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.loading.loading import load
from deepseek_server.models.loading.meta_model import stored_tensors
from deepseek_server.server.lifecycle import Progress
from tests.support.model_server.serving import directory_config

QWEN = shape(profiles.configuration("qwen-7b"))
LITE = shape(profiles.configuration("v2-lite"))
V3_CONFIG = profiles.configuration("v3-slice", 61) | {"first_k_dense_replace": 3}
V3 = shape(V3_CONFIG)


def test_the_shape_of_a_dense_model() -> None:
    # 28 layers with 4 heads of 128 numbers, keys and values
    assert QWEN.attention.read(1) == 28 * 2 * 4 * 128
    assert QWEN.attention.operations(1) == 28 * 2 * 28 * 128
    # 7.616 billion, without the embedding of 152064 x 3584
    assert QWEN.active.count == pytest.approx(7.616e9 - 152064 * 3584, abs=1e6)
    assert QWEN.read(1) == QWEN.read(500) == QWEN.shared == QWEN.active
    assert QWEN.shared.bytes == 2 * QWEN.shared.count


def test_the_shape_of_a_model_of_experts() -> None:
    # 27 layers with latents of 512 and 64 rotated numbers
    assert LITE.attention.read(1) == 27 * 576
    assert (LITE.experts, LITE.chosen, LITE.routed_layers) == (64, 6, 26)
    assert LITE.expert.count == 3 * 2048 * 1408
    # DeepSeek-V2-Lite has 2.4 billion active parameters (arXiv 2405.04434, appendix B)
    assert LITE.active.count == pytest.approx(2.4e9, rel=0.03)
    assert LITE.read(1).count == pytest.approx(LITE.active.count)
    # Two tokens share an expert with a probability of 6 in 64.
    more = LITE.read(2).count - LITE.shared.count
    assert more == pytest.approx(26 * LITE.expert.count * (12 - 6 * 6 / 64))
    every = LITE.shared.count + 26 * 64 * LITE.expert.count
    assert LITE.read(10_000).count == pytest.approx(every)


def test_the_shape_of_v3() -> None:
    # 36.6 billion active parameters with the head and without the embedding (README_WEIGHTS.md of
    # deepseek-ai/DeepSeek-V3)
    assert V3.active.count == pytest.approx(36.6e9, rel=0.01)
    # An fp8 matrix has a float32 scale for each block of 128 x 128.
    blocks = 3 * 2048 * 7168 / 128**2
    assert V3.expert.bytes == pytest.approx(3 * 2048 * 7168 + 4 * blocks)
    assert V3.head.bytes == 2 * 129280 * 7168
    # The published files have 688.6 GB; 671.3 GB without the multi-token prediction layer and the
    # embedding, whose rows are read one by one.
    assert V3.read(10**6).bytes == pytest.approx(671.3e9, rel=1e-3)
    assert V3.attention.operations(1) == 61 * 128 * (2 * 512 + 64)
    assert V3.attention.operations(1, in_prompt=True) == 61 * 128 * (128 + 64 + 128)


@pytest.mark.parametrize(("tokens", "expected"), [(1, 8), (32, 163.3), (128, 251.6)])
def test_experts_read_with_routing_within_groups(tokens: int, expected: float) -> None:
    """Compare with a simulation of V3's router: 8 of 256, within the 4 best of 8 groups."""
    assert V3.experts_read(tokens) == pytest.approx(expected, abs=0.05)
    draw = torch.Generator().manual_seed(tokens)
    scores = torch.rand(400, tokens, 8, 32, generator=draw)
    groups = scores.topk(2).values.sum(-1).topk(4).indices
    kept = torch.zeros(400, tokens, 8, 1).scatter(2, groups[..., None], 1)
    chosen = (scores * kept).flatten(2).topk(8).indices
    read = [len(trial.unique()) for trial in chosen]
    assert sum(read) / len(read) == pytest.approx(expected, rel=0.01)


def test_a_decode_step_of_v3_takes_the_time_of_its_bytes() -> None:
    device = KNOWN["h200"]
    slice_of = shape(profiles.configuration("v3-slice"))
    layer = 2 * slice_of.experts_read(32) * slice_of.expert.bytes
    cached = 2 * 32 * 576 * 3 * 600
    read = decode_bytes(slice_of, 32, 600)
    assert read == pytest.approx(slice_of.shared.bytes + layer + cached, rel=1e-4)
    assert decode_seconds(slice_of, device, 32, 600) == pytest.approx(read / 4.8e12)
    # A prompt is bound by fp8 products, twice as fast, except the head and attention.
    active, head = slice_of.active.count, slice_of.head.count
    body, outputs = 8192 * (active - head) / 1979e12, head / 989e12
    attending = 8192 * 4096 * 3 * 128 * 320 / 989e12
    expected = 2 * (body + outputs + attending)
    assert prefill_seconds(slice_of, device, 1, 8192) == pytest.approx(expected)


def test_one_of_eight_devices_reads_an_eighth_of_what_is_split() -> None:
    one = shape(V3_CONFIG, ranks=8)
    assert one.expert.bytes == pytest.approx(V3.expert.bytes / 8)
    assert one.head.count == V3.head.count / 8
    # Each device caches all latents.
    assert one.attention.read(1) == V3.attention.read(1)
    assert one.attention.operations(1) == V3.attention.operations(1) / 8
    # Not split: the projections into latents, routers and norms.
    whole = 61 * (7168 * (1536 + 576) + 2 * 7168 + 1536 + 512) + 58 * 256 * 7168 + 58 * 256 + 7168
    assert one.shared.count == pytest.approx(whole + (V3.shared.count - whole) / 8, rel=1e-9)
    grouped = shape(profiles.configuration("llama-8b"), ranks=4).attention
    assert grouped.read(1) == 32 * 2 * 2 * 128


def test_an_indexer_reads_all_tokens_and_attention_few() -> None:
    sparse, dense = (
        shape(profiles.configuration(name)).attention for name in ("v3.2-slice", "v3-slice")
    )
    assert sparse.read(1000) == dense.read(1000) + 1000 * 3 * 128
    assert sparse.read(10_000) == dense.read(2048) + 10_000 * 3 * 128
    products = dense.operations(2048) + 10_000 * 3 * 64 * 128
    assert sparse.operations(10_000) == products


def test_attention_over_compressed_tokens_has_no_known_limit() -> None:
    with pytest.raises(BenchError, match="cost of a deepseek_v4 model's attention is not"):
        shape(profiles.configuration("v4-slice"))


def test_one_sequence_is_bound_by_memory_and_prompts_by_arithmetic() -> None:
    device = KNOWN["h200"]
    read = QWEN.shared.bytes + 2 * QWEN.attention.read(1000)
    assert decode_seconds(QWEN, device, 1, 1000) == pytest.approx(read / 4.8e12)
    per_token = QWEN.active.count - QWEN.head.count + QWEN.attention.operations(2048)
    operations = 2 * 4096 * per_token + 2 * QWEN.head.count
    assert prefill_seconds(QWEN, device, 1, 4096) == pytest.approx(operations / 989e12)


def test_a_tied_head_is_counted() -> None:
    tied = shape(profiles.configuration("qwen-7b") | {"tie_word_embeddings": True})
    assert tied.active == QWEN.active


@pytest.mark.parametrize("profile", ["v3-tiny", "llama-tiny"])
def test_the_shape_of_one_device_matches_its_part_of_the_model(
    profile: str, tmp_path: Path
) -> None:
    config = profiles.configuration(profile)
    checkpoint = inspect(write_model(config, tmp_path))
    served = directory_config(tmp_path).model
    model = load(checkpoint, served, "cpu", Progress(), OneRankAlone(3, 8)).model
    kept = sum(tensor.numel() for tensor in stored_tensors(model).values())
    one = shape(config, ranks=8)
    count = one.shared.count + one.routed_layers * one.experts * one.expert.count
    assert count == kept - config["vocab_size"] * config["hidden_size"]


def test_limits_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["roofline", "r1-slice", "--accelerator", "h200", "-n", "32"]) == 0
    step = json.loads(capsys.readouterr().out)["limits"]["n32"]
    assert step["decode_step_ms_floor"] == pytest.approx(2.5 * step["decode_step_ms"], rel=1e-3)
    assert step["decode_step_ms_aim"] == pytest.approx(1.5 * step["decode_step_ms"], rel=1e-3)
    assert step["decode_step_gb"] == pytest.approx(4.8 * step["decode_step_ms"], rel=1e-3)
    directory = write_model(profiles.configuration("v3-tiny"), tmp_path / "v3")
    command = ["forward", str(directory), "--device", "cpu", "-n", "2", "--context", "8"]
    assert main([*command, "--accelerator", "h200"]) == 0
    found = json.loads(capsys.readouterr().out)
    share = found["limit_ms"] / found["step_ms"]
    assert found["share_of_limit"] == pytest.approx(share, abs=1e-3)
    assert found["reached"] == "below"


@given(
    st.sampled_from([name for name in profiles.NAMES if not name.startswith("v4")]),
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
