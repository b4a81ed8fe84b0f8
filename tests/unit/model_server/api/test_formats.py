"""Structured outputs of a model with random weights."""

import json
import re

import httpx
import jsonschema
import pytest

from tests.unit.model_server.api.test_errors import error
from tests.unit.model_server.api.test_generation import CHAT, post, stream

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 12},
        "degrees": {"type": "integer", "minimum": -60, "maximum": 60},
        "wind": {"enum": ["N", "E", "S", "W", None]},
        "hours": {
            "type": "array",
            "items": {"type": "boolean"},
            "minItems": 1,
            "maxItems": 3,
        },
    },
    "required": ["city", "degrees", "wind", "hours"],
    "additionalProperties": False,
}
NAMED = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
BODY = {"model": "llama", "max_tokens": 400, "temperature": 1.0}
ROUTES = {"/v1/chat/completions": {"messages": CHAT}, "/v1/completions": {"prompt": "Weather:"}}


def text_of(choice: dict) -> str:
    return choice["text"] if "text" in choice else choice["message"]["content"]


def piece_of(choice: dict) -> str:
    return choice["text"] if "text" in choice else choice["delta"].get("content") or ""


def answers(client: httpx.Client, route: str, **body: object) -> list[str]:
    """Return the texts of several complete answers, which are equal whole and streamed."""
    body = {**BODY, **ROUTES[route], "n": 4, "seed": 20, **body}
    choices = post(client, route, **body)["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop"] * len(choices)
    texts = [text_of(choice) for choice in choices]
    streamed = [""] * len(texts)
    for chunk in stream(client, route, **body):
        (choice,) = chunk["choices"]
        streamed[choice["index"]] += piece_of(choice)
    assert streamed == texts
    return texts


@pytest.mark.parametrize("route", ROUTES)
def test_a_json_schema(client: httpx.Client, route: str) -> None:
    texts = answers(client, route, response_format=NAMED)
    for text in texts:
        jsonschema.validate(json.loads(text), SCHEMA)
    assert len(set(texts)) == len(texts)
    assert answers(client, route, guided_json=SCHEMA) == texts


def test_any_json_object(client: httpx.Client) -> None:
    # Nothing but the likelihood of a brace ends an object of any kind.
    closing = {str(token): 12 for token in braces(client)}
    body = {"response_format": {"type": "json_object"}, "logit_bias": closing}
    for text in answers(client, "/v1/chat/completions", **body):
        assert isinstance(json.loads(text), dict)


def braces(client: httpx.Client) -> list[int]:
    """Return the tokens that close strings, lists and objects."""
    body = {"model": "llama", "prompt": '"]}', "add_special_tokens": False}
    return post(client, "/tokenize", **body)["tokens"]


@pytest.mark.parametrize("pattern", ["[a-f]{3,9}", "(yes|no), [0-9]{1,4}\\.", "[你好é🙂]{2,5}"])
def test_a_regular_expression(client: httpx.Client, pattern: str) -> None:
    for route in ROUTES:
        for text in answers(client, route, guided_regex=pattern):
            assert re.fullmatch(pattern, text)


def test_a_choice(client: httpx.Client) -> None:
    choices = ["to the left", "to the right", "right?", "nach Süden", "[up]"]
    found = answers(client, "/v1/completions", guided_choice=choices, n=16, temperature=2.0)
    assert set(found) <= set(choices)
    assert len(set(found)) > 1
    for text in answers(client, "/v1/chat/completions", guided_choice=choices, temperature=0):
        assert text in choices


def test_a_format_works_with_other_parameters(client: httpx.Client) -> None:
    """A row with a grammar shares a batch with penalties, log probabilities and plain answers."""
    wishes = {"frequency_penalty": 1.5, "logprobs": 2, "min_p": 0.01, "guided_regex": "[0-9]{20}"}
    for text in answers(client, "/v1/completions", **wishes):
        assert re.fullmatch("[0-9]{20}", text)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"guided_json": {"type": "nonsense"}}, "response_format", "nonsense"),
        (
            {"guided_json": {"type": "array", "uniqueItems": True}},
            "response_format",
            "uniqueItems",
        ),
        ({"guided_regex": "(a"}, "guided_regex", "unclosed group"),
        ({"guided_regex": "(?=a)b"}, "guided_regex", "look-around"),
    ],
)
@pytest.mark.parametrize("route", ROUTES)
def test_an_unsupported_format(
    client: httpx.Client, route: str, body: dict, param: str, words: str
) -> None:
    got = error(client.post(route, json={**BODY, **ROUTES[route], **body}), 400)
    assert got["param"] == param
    assert "is invalid or not supported" in got["message"]
    assert words in got["message"]
