"""An engine with scripted outputs, and an application that serves it, without a model."""

import asyncio
from collections.abc import Sequence
from typing import Self

import httpx
from fastapi import FastAPI

from deepseek_server.api.middleware import Rules
from deepseek_server.config import Config, validate
from deepseek_server.engine.types import (
    EngineError,
    Limits,
    Load,
    Output,
    QueueFullError,
    Request,
    Totals,
)
from deepseek_server.metrics import Metrics
from deepseek_server.server.app import create_app, rules
from deepseek_server.server.lifecycle import Lifecycle
from deepseek_server.server.served_model import ServedModel

HOLD = None  # in a script: block forever
Script = Sequence[Output | EngineError | None]
HELLO: Script = (
    Output((1,), "hel", cached_tokens=2, queue_seconds=0.25),
    Output((2, 3), "lo", finish_reason="stop", cached_tokens=2, queue_seconds=0.25),
)


class ScriptedStream:
    """A stream that returns its scripted outputs immediately."""

    def __init__(self, script: Script) -> None:
        self._lines = list(script)
        self.cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        if not self._lines:
            raise StopAsyncIteration
        line = self._lines.pop(0)
        if line is HOLD:
            await asyncio.Event().wait()
        if isinstance(line, EngineError):
            raise line
        assert isinstance(line, Output)
        return line

    def cancel(self) -> None:
        self.cancelled = True


class ScriptedEngine:
    """An engine that answers every request with the same script."""

    def __init__(self, script: Script = HELLO) -> None:
        self.script = script
        self.limits = Limits(context=4096, waiting=64)
        self.load = Load(running=2, waiting=64, cache=0.5)
        self.totals = Totals()
        self.alive, self.full = True, False
        self.requests: list[Request] = []
        self.asked = asyncio.Event()
        self.streams: list[ScriptedStream] = []

    def submit(self, request: Request) -> ScriptedStream:
        if self.full:
            raise QueueFullError("64 requests are already waiting")
        self.requests.append(request)
        self.asked.set()
        self.streams.append(ScriptedStream(self.script))
        return self.streams[-1]

    async def close(self) -> None:
        self.alive = False


class Letters:
    """A codec with one token per character."""

    has_chat_template = True

    def encode(self, text: str) -> list[int]:
        return [ord(letter) % 128 for letter in text]

    def encode_chat(self, messages: Sequence[object], *_: object, **__: object) -> list[int]:
        return self.encode(repr(messages))


def configuration(**fields: object) -> Config:
    return validate({"model": {"id": "scripted"}, **fields}, "the test's configuration")


class Service:
    """An application and its client, on the test's event loop."""

    def __init__(
        self, script: Script = HELLO, *, asked: Rules | None = None, **fields: object
    ) -> None:
        config = configuration(**fields)
        self.engine = ScriptedEngine(script)
        self.lifecycle = Lifecycle(config.model)
        self.lifecycle.ready(ServedModel("scripted", self.engine, Letters(), vocabulary=128))
        self.metrics = Metrics("scripted")
        self.metrics.watch(self.engine)
        self.app: FastAPI = create_app(self.lifecycle, self.metrics, asked or rules(config))
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://scripted",
        )

    async def complete(self, headers: dict[str, str] | None = None, **body: object):
        body = {"model": "scripted", "prompt": [5, 6, 7], **body}
        return await self.client.post("/v1/completions", json=body, headers=headers)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        full = {"model_name": "scripted", **labels}
        return self.metrics.registry.get_sample_value(f"deepseek_server_{name}", full)
