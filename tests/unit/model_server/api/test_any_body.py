"""Arbitrary bodies never cause a server error."""

import asyncio
import copy
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_server.api.routes.tokenize import DetokenizeRequest, TokenizeRequest
from deepseek_server.api.schemas import ChatRequest, CompletionRequest
from deepseek_server.config import validate
from deepseek_server.metrics import Metrics
from deepseek_server.server.app import create_app
from deepseek_server.server.lifecycle import Lifecycle
from deepseek_server.server.served_model import ServedModel
from tests.unit.model_server.api import templates
from tests.unit.model_server.api.fake import FakeEngine

ROUTES = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
}
CONVERSATION = {
    "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "b"},
    ],
    "tools": [TOOL],
    "chat_template_kwargs": {"thinking": False},
}
COMMON = {
    "model": "fake",
    "n": 2,
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 3,
    "min_p": 0.1,
    "logit_bias": {"5": 1.5},
    "stop": ["a"],
    "stop_token_ids": [3],
    "seed": 1,
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
    },
    "metadata": {"a": "b"},
}
VALID = {
    "/v1/chat/completions": {
        **COMMON,
        **CONVERSATION,
        "logprobs": True,
        "top_logprobs": 2,
        "tool_choice": "auto",
        "reasoning_effort": "none",
    },
    "/v1/completions": {**COMMON, "prompt": ["a", [5]], "logprobs": 1, "echo": False},
    "/tokenize": {"model": "fake", **CONVERSATION},
    "/detokenize": {"model": "fake", "tokens": [5, 6]},
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["text", "function", "json_schema", "user", "tool", "f", "\ud800", "{", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Return every position in a JSON value."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def mutated(body: Any, path: tuple, change: str, value: Any) -> Any:
    """Return a copy with one position replaced, dropped or doubled."""
    if not path:
        return value
    copied = copy.deepcopy(body)
    parent = copied
    for key in path[:-1]:
        parent = parent[key]
    if change == "drop":
        del parent[path[-1]]
    elif change == "double" and isinstance(parent, list):
        parent.append(parent[path[-1]])
    else:
        parent[path[-1]] = value
    return copied


@pytest.fixture(scope="module")
def post(codec_of):
    """Return a function that sends a body to an application without a network."""
    lifecycle = Lifecycle(validate({"model": {"id": "fake"}}, "the test").model)
    codec = codec_of(templates.V31)
    lifecycle.ready(ServedModel("fake", FakeEngine(10**6), codec, vocabulary=640))
    app = create_app(lifecycle, Metrics("fake"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def send(route: str, body: object) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://fake") as client:
            headers = {"content-type": "application/json"}
            return await client.post(route, content=json.dumps(body), headers=headers)

    def post(route: str, body: object) -> int:
        response = runner.run(send(route, body))
        assert response.status_code < 500, response.text
        assert "internal_error" not in response.text
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        return response.status_code

    with asyncio.Runner() as runner:
        yield post


SLOWLY = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("route", ROUTES)
def test_the_unmutated_body_is_valid(post, route: str) -> None:
    assert post(route, VALID[route]) == 200


@pytest.mark.parametrize("route", ROUTES)
@SLOWLY
@given(data=st.data())
def test_mutated_bodies(post, route: str, data: st.DataObject) -> None:
    body: Any = VALID[route]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(body)))
        change = data.draw(st.sampled_from(["replace", "replace", "drop", "double"]))
        body = mutated(body, path, change, data.draw(JSON))
    post(route, body)


@pytest.mark.parametrize("route", ROUTES)
@SLOWLY
@given(data=st.data())
def test_bodies_of_known_fields(post, route: str, data: st.DataObject) -> None:
    known = st.sampled_from(sorted(ROUTES[route].model_fields))
    body = data.draw(st.dictionaries(known | st.text(max_size=3), JSON, max_size=6))
    post(route, {**VALID[route], **body})
