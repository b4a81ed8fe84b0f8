"""Metrics of a real model and of a scripted engine."""

import time

from prometheus_client.parser import text_string_to_metric_families

from deepseek_server.engine.histogram import Steps
from deepseek_server.engine.types import EngineError, Output, Totals
from tests.support.model_server.scripted import Service


def values(server) -> dict[str, float]:
    """Sample name and its labels but the model's -> value."""
    text = server.client.get("/metrics").text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("model_name") == "qwen3"
            labels = ",".join(sample.labels.values())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_metrics_of_a_request(serve_family) -> None:
    server = serve_family("qwen3")
    before = values(server)
    body = {"model": "qwen3", "prompt": [5, 6, 7], "max_tokens": 4, "ignore_eos": True}
    assert server.client.post("/v1/completions", json=body).status_code == 200
    assert server.client.post("/v1/completions", json={}).status_code == 400
    after = values(server)

    def more(name: str) -> float:
        return after[f"deepseek_server_{name}"] - before.get(f"deepseek_server_{name}", 0)

    assert more("prompt_tokens_total") == 3
    assert more("generation_tokens_total") == 4
    assert more("time_to_first_token_seconds_count") == 1
    assert more("inter_token_latency_seconds_count") == 3
    assert more("e2e_request_latency_seconds_count") == 1
    assert more("e2e_request_latency_seconds_sum") > more("time_to_first_token_seconds_sum") > 0
    assert more("request_success_total{length}") == 1
    assert more("http_requests_total{/v1/completions,POST,200}") == 1
    assert more("http_requests_total{/v1/completions,POST,400}") == 1
    assert after["deepseek_server_num_requests_running"] == 0
    assert after["deepseek_server_num_requests_waiting"] == 0


def test_requests_that_run_and_end_early(serve_family) -> None:
    server = serve_family("qwen3")
    body = {"model": "qwen3", "prompt": [5], "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with server.client.stream("POST", "/v1/completions", json=body) as response:
        lines = response.iter_lines()  # kept: a lost iterator closes the response
        next(lines)
        assert values(server)["deepseek_server_num_requests_running"] == 1
    deadline = time.monotonic() + 10  # the server detects the disconnect when it writes
    while not values(server).get("deepseek_server_request_success_total{abort}"):
        assert time.monotonic() < deadline
    assert values(server)["deepseek_server_num_requests_running"] == 0


def test_unknown_paths_create_no_labels(serve_family) -> None:
    server = serve_family("qwen3")
    server.client.get("/wp-admin/setup.php")
    assert "deepseek_server_http_requests_total{none,GET,404}" in values(server)
    assert "wp-admin" not in server.client.get("/metrics").text


async def test_durations_and_lengths() -> None:
    service = Service()
    assert (await service.complete()).status_code == 200
    for name, count, total in (
        ("request_queue_time_seconds", 1, 0.25),
        ("request_prompt_tokens", 1, 3),
        ("request_generation_tokens", 1, 3),
    ):
        assert service.sample(f"{name}_count") == count
        assert service.sample(f"{name}_sum") == total
    for name in ("time_to_first_token", "request_prefill_time", "request_decode_time"):
        assert service.sample(f"{name}_seconds_count") == 1
    # The second output has two tokens: each waited half as long.
    assert service.sample("inter_token_latency_seconds_count") == 2
    gaps, decode = (
        service.sample(f"{name}_seconds_sum")
        for name in ("inter_token_latency", "request_decode_time")
    )
    assert gaps is not None
    assert decode is not None
    assert 0 < gaps <= decode


async def test_engine_totals_are_exported() -> None:
    service = Service()
    steps = Steps()
    steps.record(0.02, tokens=300, sequences=9)
    service.engine.totals = Totals(
        prompt_tokens=100,
        prompt_tokens_found=64,
        preemptions=3,
        step_seconds=steps.seconds.distribution,
        step_tokens=steps.tokens.distribution,
        step_sequences=steps.sequences.distribution,
    )
    assert service.sample("prefix_cache_queries_total") == 100
    assert service.sample("prefix_cache_hits_total") == 64
    assert service.sample("num_preemptions_total") == 3
    assert service.sample("kv_cache_usage_perc") == 0.5
    assert service.sample("num_requests_running") == 2
    assert service.sample("num_requests_waiting") == 64
    assert service.sample("iteration_tokens_total_sum") == 300
    assert service.sample("step_sequences_bucket", le="8.0") == 0
    assert service.sample("step_sequences_bucket", le="16.0") == 1
    assert service.sample("step_seconds_count") == 1
    text = (await service.client.get("/metrics")).text
    assert 'deepseek_server_step_seconds_sum{model_name="scripted"} 0.02' in text


async def test_a_failure_of_the_engine_is_an_error() -> None:
    service = Service([Output((1,), "a"), EngineError("it broke")])
    assert (await service.complete()).status_code == 500
    assert service.sample("request_success_total", finished_reason="error") == 1
    assert service.sample("generation_tokens_total") == 1


async def test_a_rejected_request_gets_a_retry_after() -> None:
    service = Service()
    for _ in range(70):
        await service.complete()
    service.engine.full = True
    refused = await service.complete()
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    for route in ("live", "ready"):
        assert (await service.client.get(f"/health/{route}")).status_code == 200, "it is only busy"
