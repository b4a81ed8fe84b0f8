"""Scenarios of clients, with checks of their results."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from hack.soak.book import PENALTY, Entry, tokens

ROUTE = "/v1/completions"
CONTEXT = 2048  # the server's maxContext; its cache holds little more than one such sequence
LONG = 1500  # tokens of an answer that the client abandons
PATTERN = "[a-z]{3,20}(, [0-9]{1,5}){1,4}"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "size": {"type": "integer", "minimum": 0, "maximum": 9999},
        "parts": {"type": "array", "items": {"enum": ["a", "b", None]}, "maxItems": 3},
    },
    "required": ["name", "size", "parts"],
    "additionalProperties": False,
}
BAD = (
    (b"{", "invalid_json"),
    (b"[]", "invalid_body"),
    (b'{"model": "tiny"}', "missing_required_parameter"),
    (b'{"model": "tiny", "prompt": "a", "colour": "red"}', "unknown_parameter"),
    (b'{"model": "tiny", "prompt": "a", "temperature": 9}', "invalid_value"),
    (b'{"model": "tiny", "prompt": [70000]}', "invalid_token"),
    (b'{"model": "tiny", "prompt": "a", "guided_regex": "("}', "invalid_value"),
    (b'{"model": "tiny", "prompt": []}', "empty_prompt"),
    (b'{"model": "other", "prompt": "a"}', "model_not_found"),
)


class WrongError(Exception):
    """An answer differs from the expected one."""


@dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        http: HTTP client of the server.
        book: prompts with known answers.
        random: source of random choices.
    """

    http: httpx.AsyncClient
    book: list[Entry]
    random: Random

    def known(self) -> tuple[Entry, dict[str, Any]]:
        """Return a prompt of the book, and a request for a part of its answer."""
        entry = self.random.choice(self.book)
        count = self.random.randint(1, len(entry.answer))
        return entry, body(prompt=entry.prompt, max_tokens=count, temperature=0)


Scenario = Callable[[Client], Awaitable[None]]


def body(**fields: Any) -> dict[str, Any]:
    """Return a request that returns token ids and ends only at its length."""
    return {"model": "tiny", "ignore_eos": True, "return_token_ids": True, **fields}


async def answered(client: Client, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a request that must succeed."""
    response = await client.http.post(ROUTE, json=request)
    if response.status_code != 200:
        raise WrongError(f"{response.status_code}: {response.text}")
    choices: list[dict[str, Any]] = response.json()["choices"]
    return choices


async def refused(client: Client, content: bytes, code: str) -> None:
    """Send a request that the server must refuse with a given error code."""
    headers = {"content-type": "application/json"}
    response = await client.http.post(ROUTE, content=content, headers=headers)
    if response.status_code not in (400, 404):
        raise WrongError(f"{content[:80]!r} got {response.status_code}: {response.text[:200]}")
    same("the code", response.json()["error"]["code"], code)


def same(what: str, found: object, expected: object) -> None:
    """Raise WrongError if two values differ."""
    if found != expected:
        raise WrongError(f"{what} is {found}, not {expected}")


async def whole(client: Client) -> None:
    """Check a known answer without streaming."""
    entry, request = client.known()
    (choice,) = await answered(client, request)
    same("the answer", choice["token_ids"], entry.answer[: request["max_tokens"]])


async def stream(client: Client) -> None:
    """Check a known answer as a stream."""
    entry, request = client.known()
    found: list[int] = []
    async with client.http.stream("POST", ROUTE, json={**request, "stream": True}) as response:
        lines = [line async for line in response.aiter_lines() if line.startswith("data: ")]
    same("the end of a stream", lines.pop(), "data: [DONE]")
    for line in lines:
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise WrongError(str(event["error"]))
        found += event["choices"][0]["token_ids"]
    same("the streamed answer", found, entry.answer[: request["max_tokens"]])


async def several(client: Client) -> None:
    """Check several answers to each of several prompts."""
    (one, request), (two, _) = client.known(), client.known()
    request |= {"prompt": [one.prompt, two.prompt], "n": 2}
    count = request["max_tokens"]
    found = [choice["token_ids"] for choice in await answered(client, request)]
    expected = [entry.answer[:count] for entry in (one, one, two, two)]
    same("the list of answers", found, expected)


async def stopped(client: Client) -> None:
    """Check a known answer with one of its tokens as stop token."""
    entry, request = client.known()
    stop = client.random.choice(entry.answer)
    request |= {"stop_token_ids": [stop], "max_tokens": len(entry.answer)}
    (choice,) = await answered(client, request)
    expected = entry.answer[: entry.answer.index(stop) + 1]
    same("the stopped answer", choice["token_ids"], expected)


async def penalised(client: Client) -> None:
    """Check a known answer with a repetition penalty, which the engine computes step by step."""
    entry, request = client.known()
    (choice,) = await answered(client, {**request, "repetition_penalty": PENALTY})
    same("the penalised answer", choice["token_ids"], entry.penalised[: request["max_tokens"]])


async def drawn(client: Client) -> None:
    """Check a sampled answer to a new prompt."""
    count = client.random.randint(50, 200)  # more blocks than its prompt
    prompt = tokens(client.random, client.random.randint(1, 400))
    wishes = {
        "temperature": 1.2,
        "top_p": 0.9,
        "logprobs": 2,
        "seed": client.random.getrandbits(60),
    }
    (choice,) = await answered(client, body(prompt=prompt, max_tokens=count, **wishes))
    same("the count of drawn tokens", len(choice["token_ids"]), count)
    same("the count of log probabilities", len(choice["logprobs"]["token_logprobs"]), count)


async def held(client: Client) -> None:
    """Check answers in a response format."""
    wishes = {"ignore_eos": False, "max_tokens": 300, "temperature": 1.0, "n": 2}
    request = body(prompt=client.random.choice(client.book).prompt, **wishes)
    for choice in await answered(client, {**request, "guided_regex": PATTERN}):
        if not re.fullmatch(PATTERN, choice["text"]):
            raise WrongError(f"{choice['text']!r} does not match {PATTERN}")
    for choice in await answered(client, {**request, "guided_json": SCHEMA}):
        same("the keys of an object", list(json.loads(choice["text"])), SCHEMA["required"])


async def left(client: Client) -> None:
    """Disconnect in the middle of a stream."""
    prompt = tokens(client.random, client.random.randint(1, 400))
    request = body(prompt=prompt, max_tokens=LONG, stream=True)
    pieces = client.random.randint(1, 40)
    async with client.http.stream("POST", ROUTE, json=request) as response:
        same("the status of a stream", response.status_code, 200)
        async for line in response.aiter_lines():
            pieces -= bool(line)
            if not pieces:
                return


async def given_up(client: Client) -> None:
    """Send a request and disconnect after at most a second."""
    prompt = tokens(client.random, client.random.randint(1, 400))
    asked = client.http.post(ROUTE, json=body(prompt=prompt, max_tokens=LONG))
    try:
        response = await asyncio.wait_for(asked, client.random.uniform(0, 1))
    except TimeoutError:
        return
    same("the status of a whole answer", response.status_code, 200)


async def too_long(client: Client) -> None:
    """Check that a prompt is refused which leaves too little room for its answer."""
    request = body(prompt=tokens(client.random, CONTEXT - 20), max_tokens=200)
    await refused(client, json.dumps(request).encode(), "context_length_exceeded")


async def bad(client: Client) -> None:
    """Check that invalid bodies are refused."""
    await refused(client, *client.random.choice(BAD))


# Weight of each scenario.
SCENARIOS: dict[Scenario, int] = {
    whole: 4,
    stream: 4,
    several: 2,
    stopped: 2,
    penalised: 2,
    drawn: 4,
    held: 2,
    left: 3,
    given_up: 3,
    too_long: 1,
    bad: 1,
}
