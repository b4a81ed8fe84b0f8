"""Error responses."""

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_server.api.middleware import MAX_BODY_BYTES
from deepseek_server.api.schemas import NOT_SUPPORTED
from deepseek_server.engine.types import EngineClosedError, EngineError, QueueFullError
from deepseek_server.models.runners.paged import PagedRunner
from deepseek_server.server.lifecycle import Lifecycle
from tests.support.model_server.serving import directory_config

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def error(response: httpx.Response, status: int) -> dict:
    """Return the error of a response, and check its format."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    value = response.json()["error"]
    assert set(value) == {"message", "type", "param", "code"}
    assert value["message"]
    return value


def refused(client: httpx.Client, route: str, status: int = 400, **body) -> dict:
    return error(client.post(route, json={"model": "llama", **body}), status)


def message(role: str = "user", content: object = "a") -> list[dict]:
    return [{"role": role, "content": content}]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[]", "invalid_body"),
        (b'"text"', "invalid_body"),
        (b"", "invalid_body"),
        (b"[" * 100_000, None),
        (b'{"model": "llama", "prompt": "a", "\\ud800": 1}', None),
    ],
)
def test_bodies_that_are_not_objects(
    client: httpx.Client, content: bytes, code: str | None
) -> None:
    headers = {"content-type": "application/json"}
    got = error(client.post(TEXT, content=content, headers=headers), 400)
    assert got["type"] == "invalid_request_error"
    if code is not None:
        assert got["code"] == code


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "prompt", "missing parameter: prompt"),
        ({"prompt": 5}, "prompt", "must be a string, a list of token ids"),
        ({"prompt": []}, "prompt", "no tokens"),
        ({"prompt": [[]]}, "prompt", "no tokens"),
        ({"prompt": [1.5]}, "prompt", "must be a string"),
        ({"prompt": [True]}, "prompt", "must be a string"),
        (
            {"prompt": ["a"] * 5, "n": 26},
            "prompt",
            "5 prompts with n 26 exceed the limit of 128 choices",
        ),
        ({"prompt": [640]}, "prompt", "640 is not a token id of this model: use 0 to 639"),
        ({"prompt": [-1]}, "prompt", "-1 is not a token id"),
        ({"prompt": "ab\ud800"}, "prompt", "character 2 is half of a surrogate pair"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"prompt": "a", "max_tokens": "5"}, "max_tokens", "valid integer"),
        ({"prompt": "a", "max_tokens": 10**30}, "prompt", "context length of llama is 4096"),
        ({"prompt": "a", "temperature": 2.5}, "temperature", "less than or equal to 2"),
        ({"prompt": "a", "top_p": 0}, "top_p", "greater than 0"),
        ({"prompt": "a", "stop": ["a"] * 5}, "stop", "at most 4 stop strings are allowed: got 5"),
        ({"prompt": "a", "stop": [""]}, "stop", "must not be empty"),
        ({"prompt": "a", "stop": [5]}, "stop[0]", "valid string"),
        ({"prompt": "a", "seed": 2**63}, "seed", "less than or equal to"),
        ({"prompt": "a", "stream_options": {}}, "stream_options", "only allowed with stream"),
        ({"prompt": "a", "min_tokens": 17}, "min_tokens", "limit of 16 generated tokens: got 17"),
        ({"prompt": "a", "colour": "red"}, "colour", "unknown parameter: colour"),
        ({"prompt": "a", "messages": []}, "messages", "unknown parameter: messages"),
    ],
)
def test_wrong_fields_of_completions(
    client: httpx.Client, body: dict, param: str, words: str
) -> None:
    # json.dumps can write lone surrogates, httpx cannot.
    content = json.dumps({"model": "llama", **body})
    headers = {"content-type": "application/json"}
    got = error(client.post(TEXT, content=content, headers=headers), 400)
    assert got["param"] == param
    assert words in got["message"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ["model", "prompt", "messages", "stop", "n", "seed", "stream_options", "temperature", "x"]
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([CHAT, TEXT]), st.dictionaries(FIELDS, VALUES))
def test_no_body_causes_a_server_error(server, route: str, fields: dict) -> None:
    body = {"model": "llama", "prompt": "a", "messages": message(), **fields, "max_tokens": 1}
    del body["messages" if route == TEXT and "messages" not in fields else "prompt"]
    headers = {"content-type": "application/json"}
    response = server.client.post(route, content=json.dumps(body), headers=headers)
    assert response.status_code < 500, response.text


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "user"}], "messages[0].content"),
        (message(role="robot"), "messages[0].role"),
        (message(content=None), "messages[0].content"),
        (message(content=[{"type": "image_url", "image_url": {"url": "x"}}]), "messages[0].content.type"),
        ([{"role": "user", "content": "a", "mood": 1}], "messages[0].mood"),
        (message() + message("system"), "messages"),
    ],
)  # fmt: skip
def test_wrong_messages(client: httpx.Client, messages: object, param: str) -> None:
    assert refused(client, CHAT, messages=messages)["param"] == param


@pytest.mark.parametrize("name", NOT_SUPPORTED)
def test_unsupported_parameters_are_rejected(client: httpx.Client, name: str) -> None:
    got = refused(client, CHAT, messages=message(), **{name: {"some": "thing"}})
    assert got["code"] == "unsupported_parameter"
    assert got["param"] == name
    assert "not supported by this server yet" in got["message"]


def test_an_error_for_a_long_prompt_has_the_numbers(client: httpx.Client) -> None:
    got = refused(client, TEXT, prompt=[5] * 4090, max_tokens=7)
    assert got["code"] == "context_length_exceeded"
    assert "4090 tokens and max_tokens is 7" in got["message"]
    assert "4096" in got["message"]
    assert refused(client, CHAT, messages=message(content="x " * 9000))["code"] == got["code"]


def test_an_unknown_model(client: httpx.Client) -> None:
    for response in (
        client.post(CHAT, json={"model": "gpt", "messages": message()}),
        client.get("/v1/models/some/body"),
    ):
        got = error(response, 404)
        assert got["code"] == "model_not_found"
        assert "this server serves 'llama'" in got["message"]


def test_routes_and_methods(client: httpx.Client) -> None:
    assert "unknown route: /v1/nothing" in error(client.get("/v1/nothing"), 404)["message"]
    assert error(client.get(CHAT), 405)["code"] == "method_not_allowed"


def test_a_body_that_is_too_large(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    announced = client.post(TEXT, content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert error(announced, 413)["code"] == "body_too_large"

    def chunks():
        for _ in range(MAX_BODY_BYTES // 2**20 + 1):
            yield b" " * 2**20

    error(client.post(TEXT, content=chunks(), headers=headers), 413)


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (QueueFullError("64 requests are already waiting"), 429, "rate_limit_error"),
        (EngineClosedError("the server is shutting down"), 503, "service_unavailable_error"),
    ],
)
def test_errors_with_retry_after(
    server, monkeypatch, raised: Exception, status: int, kind: str
) -> None:
    def submit(_: object) -> None:
        raise raised

    monkeypatch.setattr(server.served.engine, "submit", submit)
    for extra in ({}, {"stream": True}):
        body = {"model": "llama", "prompt": "a", **extra}
        response = server.client.post(TEXT, json=body)
        assert error(response, status)["type"] == kind
        assert int(response.headers["retry-after"]) >= 1


def test_an_internal_error_is_a_500_and_the_server_continues(server, monkeypatch) -> None:
    body = {"model": "llama", "prompt": "a"}
    with monkeypatch.context() as patch:
        patch.setattr(PagedRunner, "run", _fail)
        assert "it broke" in error(server.client.post(TEXT, json=body), 500)["message"]
        streamed = server.client.post(TEXT, json={**body, "stream": True})
        assert streamed.status_code == 200
        assert '"code":"generation_failed"' in streamed.text
        assert "[DONE]" not in streamed.text
    assert server.client.post(TEXT, json=body).status_code == 200


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError("it broke")


def test_a_lost_device_ends_running_requests_and_liveness(serve_anew, monkeypatch) -> None:
    client, body = serve_anew("llama").client, {"model": "llama", "prompt": "a"}
    assert client.post(TEXT, json=body).status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(PagedRunner, "run", _lose_device)
        assert "illegal memory access" in error(client.post(TEXT, json=body), 500)["message"]
    # Only a new process helps, which a failed liveness probe causes.
    live = client.get("/health/live")
    assert (live.status_code, live.json()["status"]) == (503, "dead")
    assert client.get("/health/ready").status_code == 503
    for extra in ({}, {"stream": True}):
        refused = error(client.post(TEXT, json={**body, **extra}), 503)
        assert "illegal memory access" in refused["message"]
        assert refused["code"] == "engine_gone"


def _lose_device(*_: object, **__: object) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_an_unexpected_exception(server, monkeypatch) -> None:
    monkeypatch.setattr(server.served.codec, "encode", _fail)
    got = error(server.client.post(TEXT, json={"model": "llama", "prompt": "a"}), 500)
    assert got["type"] == "server_error"
    assert "RuntimeError" in got["message"]


def test_no_chat_template(server, monkeypatch) -> None:
    monkeypatch.setattr(server.served.codec._tokenizer, "chat_template", None)
    got = refused(server.client, CHAT, messages=message())
    assert got["code"] == "no_chat_template"
    assert "use /v1/completions" in got["message"]


def test_while_the_model_loads(run_app, tiny) -> None:
    lifecycle = Lifecycle(directory_config(tiny("llama")).model)
    lifecycle.progress.begin("loading llama as float32", 200)
    lifecycle.progress.reach(50)
    client = run_app(lifecycle).client
    assert client.get("/health/live").status_code == 200
    ready = client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {
        "status": "loading",
        "detail": "loading llama as float32: 25 % of 200 B",
        "loadedBytes": 50,
        "totalBytes": 200,
        "secondsLeft": None,
    }
    for response in (client.post(CHAT, json={}), client.get("/v1/models")):
        assert error(response, 503)["code"] == "model_not_ready"
        assert response.headers["retry-after"] == "5"
    lifecycle.fail("the reason in words")
    assert client.get("/health/ready").json()["detail"] == "the reason in words"


def test_a_dead_engine_is_not_live(server, monkeypatch) -> None:
    assert server.client.get("/health/live").status_code == 200
    assert server.client.get("/health/ready").status_code == 200
    monkeypatch.setattr(type(server.served.engine), "alive", False)
    assert server.client.get("/health/live").status_code == 503
    assert server.client.get("/health/ready").json()["status"] == "dead"


def test_an_engine_closed_error_is_an_engine_error() -> None:
    assert issubclass(EngineClosedError, EngineError)
