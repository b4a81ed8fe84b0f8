"""Open-loop load: requests at a constant rate, independent of the responses to earlier ones.

The requests are short chats and streams of completions, on new or kept connections. Outcomes are
counted: a stream is whole if it ends with `[DONE]`, has the requested number of tokens and no error.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

SHORT_TOKENS, STREAM_TOKENS = 4, 150
SHORT_EVERY, STREAM_EVERY = 0.5, 2.0  # seconds
# Timeout of a request, in seconds.
PATIENCE = 180.0
WHOLE = "whole"


@dataclass
class Outcomes:
    """Outcomes of the requests.

    Attributes:
        short: Number of short requests by status code or error.
        streams: Number of streams by outcome: `whole` or the error.
        seconds: Duration of each successful short request.
    """

    short: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def failed(self) -> dict[str, int]:
        """Number of failed requests by outcome."""
        good = {"200", WHOLE}
        return {what: n for what, n in (self.short + self.streams).items() if what not in good}

    def __str__(self) -> str:
        median = f"{1000 * statistics.median(self.seconds):.0f} ms" if self.seconds else "-"
        return (
            f"{self.short.total()} short (median {median}), {self.streams.total()} streams, "
            f"failed: {self.failed or 'none'}"
        )


class OpenLoop:
    """A context in which requests are sent.

    Args:
        url: URL of the API, without /v1.
        model: Model name of the requests.
        headers: Headers of every request.
    """

    def __init__(self, url: str, model: str, headers: dict[str, str] | None = None) -> None:
        self.outcomes = Outcomes()
        self._url, self._model, self._headers = url, model, headers or {}
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._asking: Future[None] | None = None

    def __enter__(self) -> Self:
        self._asking = self._pool.submit(lambda: asyncio.run(self._ask()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        if self._asking is not None:
            self._asking.result()

    async def _ask(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(
                headers=self._headers, timeout=PATIENCE, limits=limits, trust_env=False
            ) as client,
            asyncio.TaskGroup() as tasks,
        ):
            begun = time.monotonic()
            next_short = next_stream = begun
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= next_short:
                    next_short += SHORT_EVERY
                    tasks.create_task(self._short(client))
                if now >= next_stream:
                    next_stream += STREAM_EVERY
                    tasks.create_task(self._stream(client))
                await asyncio.sleep(max(0.0, min(next_short, next_stream) - time.monotonic()))

    def _body(self, tokens: int, **fields: Any) -> dict[str, Any]:
        return {"model": self._model, "max_tokens": tokens, "ignore_eos": True, **fields}

    async def _short(self, client: httpx.AsyncClient) -> None:
        begun = time.monotonic()
        try:
            chat = self._body(SHORT_TOKENS, messages=[{"role": "user", "content": "Hello"}])
            answer = await client.post(f"{self._url}/v1/chat/completions", json=chat)
        except httpx.HTTPError as error:
            self.outcomes.short[repr(error)] += 1
            return
        self.outcomes.short[str(answer.status_code)] += 1
        if answer.is_success:
            self.outcomes.seconds.append(time.monotonic() - begun)

    async def _stream(self, client: httpx.AsyncClient) -> None:
        body = self._body(
            STREAM_TOKENS,
            prompt="Hello",
            stream=True,
            temperature=0,
            stream_options={"include_usage": True},
        )
        try:
            async with client.stream("POST", f"{self._url}/v1/completions", json=body) as answer:
                if not answer.is_success:
                    self.outcomes.streams[f"stream {answer.status_code}"] += 1
                    return
                lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        except httpx.HTTPError as error:
            self.outcomes.streams[f"stream {error!r}"] += 1
            return
        self.outcomes.streams[_judged(lines)] += 1


def _judged(lines: list[str]) -> str:
    """Return the outcome of a stream: `whole` or the error."""
    chunks = [line for line in lines if line != "data: [DONE]"]
    events = [json.loads(line.removeprefix("data: ")) for line in chunks]
    if errors := [event["error"] for event in events if "error" in event]:
        return f"stream with an error: {errors[0].get('message')}"
    if chunks == lines:
        return "stream that ends in the middle"
    tokens = next(
        (event["usage"]["completion_tokens"] for event in events if event.get("usage")), 0
    )
    return WHOLE if tokens == STREAM_TOKENS else f"stream of {tokens} tokens"
