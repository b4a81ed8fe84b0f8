"""Streams: heartbeats, disconnects and release."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from deepseek_server.api.sse import EventStream


async def collect(response: EventStream, hear: Callable[[bytes], None] = lambda _: None) -> bytes:
    """Return what a client receives up to the end; `hear` is called with each part."""
    received = b""
    gone = asyncio.Event()

    async def send(message) -> None:
        nonlocal received
        received += message.get("body", b"")
        hear(message.get("body", b""))

    async def receive():
        await gone.wait()

    await response({"type": "http"}, receive, send)
    return received


async def test_comments_are_sent_in_silence_and_change_nothing() -> None:
    pinged = asyncio.Event()

    async def events() -> AsyncIterator[dict]:
        yield {"n": 1}
        await pinged.wait()
        yield {"n": "é"}

    def hear(part: bytes) -> None:
        if part == b": ping\n\n":
            pinged.set()

    released: list[bool] = []
    response = EventStream(events(), lambda: released.append(True), heartbeat=0.01)
    text = (await collect(response, hear)).decode()
    assert text.startswith('data: {"n":1}\n\n: ping\n\n')
    assert text.replace(": ping\n\n", "") == 'data: {"n":1}\n\ndata: {"n":"é"}\n\ndata: [DONE]\n\n'
    assert released == [True]


@pytest.mark.looptime
async def test_heartbeats_are_sent_only_in_silence() -> None:
    async def events() -> AsyncIterator[dict]:
        for number in range(30):
            await asyncio.sleep(9 if number < 20 else 25)
            yield {"n": number}

    parts: list[bytes] = []
    await collect(EventStream(events(), lambda: None), parts.append)
    pings = [part == b": ping\n\n" for part in parts if part]
    assert not any(pings[:20])
    # 25 seconds of silence have two beats.
    assert pings[20:] == [True, True, False] * 10 + [False]


async def test_an_error_within_a_stream_is_its_last_event() -> None:
    async def events() -> AsyncIterator[dict]:
        yield {"n": 1}
        raise RuntimeError("broken")

    first, last = (await collect(EventStream(events(), lambda: None))).strip().split(b"\n\n")
    assert first == b'data: {"n":1}'
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "internal_error"


async def test_a_disconnect_before_the_first_event_releases_too() -> None:
    async def events() -> AsyncIterator[dict]:
        await asyncio.Event().wait()
        yield {}

    async def receive():
        return {"type": "http.disconnect"}

    async def send(_) -> None:
        pass

    released: list[bool] = []
    response = EventStream(events(), lambda: released.append(True))
    await asyncio.wait_for(response({"type": "http"}, receive, send), 5)
    assert released == [True]


def wait_until_idle(server) -> None:
    """Wait until no request runs, long before the thousands of requested tokens are generated."""
    with httpx.Client(base_url=server.url, timeout=5) as client:
        answer = client.post(
            "/v1/completions", json={"model": "llama", "prompt": "a", "max_tokens": 1}
        )
    assert answer.status_code == 200


LONG = {"model": "llama", "prompt": "a", "max_tokens": 4000, "ignore_eos": True}


def test_a_disconnect_from_a_stream_frees_the_engine(server) -> None:
    with httpx.stream("POST", f"{server.url}/v1/completions", json={**LONG, "stream": True}) as r:
        lines = r.iter_lines()  # kept: the end of the iterator is that of the connection
        next(lines)
        assert server.served.engine.load.running == 1
    wait_until_idle(server)


def test_a_disconnect_while_waiting_frees_the_engine(server) -> None:
    try:
        httpx.post(f"{server.url}/v1/completions", json=LONG, timeout=0.3)
    except httpx.ReadTimeout:
        wait_until_idle(server)
    else:
        raise AssertionError("4000 tokens in 0.3 s: this test needs a longer request")
