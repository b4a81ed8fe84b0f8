"""Parsed /metrics by engine, and increases since a baseline."""

from __future__ import annotations

import json
import math

import pytest
from prometheus_client import generate_latest

from deepseek_operator.plan.progressive.samples import (
    Baseline,
    Histogram,
    Sample,
    read,
    total_increase,
)
from deepseek_server.metrics import Metrics

VLLM = """\
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 3
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 4
vllm:time_to_first_token_seconds_sum{engine="0"} 0.9
vllm:time_to_first_token_seconds_count{engine="0"} 4
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.1"} 1
vllm:time_to_first_token_seconds_bucket{engine="1",le="+Inf"} 1
vllm:time_to_first_token_seconds_sum{engine="1"} 0.05
vllm:time_to_first_token_seconds_count{engine="1"} 1
# TYPE http_requests_total counter
http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 5
http_requests_total{handler="/v1/completions",method="POST",status="5xx"} 1
http_requests_total{handler="/v1/completions",method="POST",status="4xx"} 9
http_requests_total{handler="/metrics",method="GET",status="2xx"} 70
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="error"} 2
vllm:request_success_total{finished_reason="stop"} 4
"""
SGLANG = """\
# TYPE sglang:time_to_first_token_seconds histogram
sglang:time_to_first_token_seconds_bucket{is_streaming="true",le="0.1"} 2
sglang:time_to_first_token_seconds_bucket{is_streaming="true",le="+Inf"} 2
sglang:time_to_first_token_seconds_sum{is_streaming="true"} 0.1
# TYPE sglang:http_responses_total counter
sglang:http_responses_total{endpoint="/v1/chat/completions",status_code="200",method="POST"} 2
sglang:http_responses_total{endpoint="/v1/chat/completions",status_code="503",method="POST"} 1
"""


def test_metrics_of_the_bundled_server_are_parsed() -> None:
    metrics = Metrics("m")
    for status in (200, 200, 500, 400, 429):
        metrics.answered("/v1/chat/completions", "POST", status)
    metrics.answered("/v1/models", "GET", 200)
    metrics.finished("stop")
    metrics.first_token.observe(0.2)
    metrics.between_tokens.observe(0.02, 3)
    sample = read(generate_latest(metrics.registry).decode(), "transformers")
    assert sample is not None
    assert (sample.requests, sample.errors, sample.refused) == (3, 1, 1)
    assert (sample.first_token.count, sample.first_token.total) == (1, pytest.approx(0.2))
    assert sample.between_tokens.count == 3
    assert math.isinf(sample.first_token.edges[-1])


def test_metrics_of_vllm_are_parsed() -> None:
    """Each engine has its own counters; a broken stream counts as error in spite of HTTP 200."""
    sample = read(VLLM, "vllm")
    assert sample is not None
    assert (sample.requests, sample.errors) == (6, 2)
    assert sample.first_token == Histogram((0.1, math.inf), (4, 1), pytest.approx(0.95))


def test_metrics_of_sglang_are_parsed() -> None:
    sample = read(SGLANG, "sglang")
    assert sample is not None
    assert (sample.requests, sample.errors, sample.first_token.count) == (3, 1, 2)


@pytest.mark.parametrize("text", ["", "<html>", VLLM, "vllm:time_to_first_token_seconds_bucket{"])
def test_metrics_of_another_engine_are_ignored(text: str) -> None:
    assert read(text, "sglang") is None


def test_baseline_round_trips_through_json() -> None:
    sample = read(VLLM, "vllm")
    assert sample is not None
    baseline = Baseline.of(json.loads(json.dumps(sample.baseline.plain)))
    assert sample.since(baseline).requests == 0
    assert sample.since(baseline).first_token.count == 0


@pytest.mark.parametrize("plain", [None, [], "text", [1, 2, 3, 4, 5, 6], [1, 1, ["x"], 1, [], 1]])
def test_invalid_baseline_is_refused(plain: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Baseline.of(plain)


def test_restarted_server_counts_from_zero() -> None:
    edges = (1.0, math.inf)
    before = Sample(100, 5, Histogram(edges, (90.0, 10.0), 50.0))
    after = Sample(7, 1, Histogram(edges, (7.0, 0.0), 2.0))
    assert after.since(before.baseline) == after


def test_refusals_before_the_baseline_do_not_count() -> None:
    before, after = Sample(10, refused=7), Sample(12, refused=9)
    assert after.since(before.baseline) == Sample(2, refused=2)
    anew = Sample(12, refused=1)
    assert anew.since(before.baseline) == anew


def test_only_servers_with_a_baseline_count() -> None:
    one, other = Sample(10, 1), Sample(90, 80)
    assert total_increase({"a": one, "b": other}, {"a": Sample(4).baseline}) == Sample(6, 1)
