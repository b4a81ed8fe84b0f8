import time

from prometheus_client.parser import text_string_to_metric_families


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


def test_what_a_request_counts(serve_family) -> None:
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
    deadline = time.monotonic() + 10  # the server notices when it writes
    while not values(server).get("deepseek_server_request_success_total{abort}"):
        assert time.monotonic() < deadline
    assert values(server)["deepseek_server_num_requests_running"] == 0


def test_paths_that_are_no_routes_make_no_labels(serve_family) -> None:
    server = serve_family("qwen3")
    server.client.get("/wp-admin/setup.php")
    assert "deepseek_server_http_requests_total{none,GET,404}" in values(server)
    assert "wp-admin" not in server.client.get("/metrics").text
