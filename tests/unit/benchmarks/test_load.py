"""Load on a scripted server, and on this project's server."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from random import Random
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.server.client import counters
from benchmarks.server.client.load import Closed, Open, poisson, run
from benchmarks.server.client.processes import share, timings
from benchmarks.server.client.prompts import LONGEST, Length, Prompt, Prompts
from benchmarks.server.client.target import Dialect, Target, at
from benchmarks.server.client.timing import timing
from benchmarks.server.client.workloads import Lengths, Workloads
from benchmarks.server.failures import BenchError
from benchmarks.server.report.summary import summarize


class Scripted:
    """A server in a thread that streams the requested tokens and records requests."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = self.connections = 0
        self.pause = 0.0
        self.status = b"200 OK"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.target = Target(*self._socket.getsockname(), model="m")
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._run(),), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(5)
        self._loop.close()

    async def _run(self) -> None:
        async with await asyncio.start_server(self._handle, sock=self._socket):
            await self._closed.wait()
        handlers = asyncio.all_tasks() - {asyncio.current_task()}
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                if head.startswith(b"GET"):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                body = json.loads(await reader.readexactly(length))
                self.bodies.append(body)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await self._answer(body, writer)
                self.at_once -= 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n\r\n" % self.status)
        count = body["max_tokens"]
        events = [{"choices": [{"text": "x"}]}] * count
        if self.status.startswith(b"200"):
            for event in events:
                self._write(writer, f"data: {json.dumps(event)}\n\n")
                await asyncio.sleep(self.pause)
        else:
            self._write(writer, "try later")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _write(self, writer: asyncio.StreamWriter, text: str) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


def messages(target: Target, count: int, tokens: int = 3) -> list[bytes]:
    return [target.completion(Prompt((300 + n,), tokens)) for n in range(count)]


def test_a_closed_load_keeps_its_concurrency_and_reuses_connections(scripted) -> None:
    scripted.pause = 0.001
    ended: list[object] = []
    recorded = run(scripted.target, Closed(messages(scripted.target, 12), 4), ended.append)
    read = [timing(exchange) for exchange in recorded]
    assert [t.output_tokens for t in read] == [3] * 12
    assert all(t.complete for t in read)
    assert len(ended) == 12
    assert scripted.most_at_once == scripted.connections == 4
    assert sorted(body["prompt"][0] for body in scripted.bodies) == list(range(300, 312))


def test_an_open_load_does_not_wait_for_earlier_requests(scripted) -> None:
    scripted.pause = 0.05
    starts = [0.0, 0.001, 0.002, 0.02]
    recorded = run(scripted.target, Open(messages(scripted.target, 4, 2), starts))
    sent = [exchange.sent - recorded[0].sent for exchange in recorded]
    assert all(late >= start - 0.001 for late, start in zip(sent, starts, strict=True))
    assert scripted.most_at_once == 4


def test_requests_that_exceed_the_time_are_cut(scripted) -> None:
    scripted.pause = 0.01
    load = Closed(messages(scripted.target, 3, 100_000), 2, cut_seconds=0.1)
    read = [timing(exchange) for exchange in run(scripted.target, load)]
    assert len(read) == 2
    assert all(t.cut and not t.error and 0 < t.output_tokens < 20 for t in read)


def test_no_request_starts_after_the_time(scripted) -> None:
    scripted.pause = 0.02
    load = Closed(messages(scripted.target, 50), 1, seconds=0.05)
    assert 1 <= len(run(scripted.target, load)) < 5


def test_refusals_are_failures(scripted) -> None:
    scripted.status = b"429 Too Many"
    recorded = run(scripted.target, Closed(messages(scripted.target, 3), 1))
    figures = summarize([timing(exchange) for exchange in recorded])
    assert figures["failures"] == ["status 429: try later"]
    assert figures["failed"] == 3
    workloads = Workloads(scripted.target, vocabulary=900, context=4096)
    with pytest.raises(BenchError, match="5 of 5 requests failed: status 429"):
        workloads.closed(1, 5, Lengths(Length(3), Length(2)))


def test_an_unreachable_server_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        target = Target(*opened.getsockname())
    (exchange,) = run(target, Closed(messages(target, 1), 1))
    assert "Connect" in timing(exchange).error


def test_two_processes_do_the_work_of_one(scripted) -> None:
    told: list[int] = []
    load = Closed(messages(scripted.target, 7), 4)
    read = timings(scripted.target, load, processes=2, step=told.append)
    assert [t.output_tokens for t in read] == [3] * 7
    assert sum(told) == 7
    assert sorted(body["prompt"][0] for body in scripted.bodies) == list(range(300, 307))


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9))
def test_shares_of_a_load_are_the_load(count, at_once, processes) -> None:
    sent = [b"%d" % n for n in range(count)]
    closed = share(Closed(sent, at_once), processes)
    assert sorted(m for part in closed for m in part.messages) == sorted(sent)
    assert len(closed) <= processes
    assert sum(part.at_once for part in closed) == at_once
    assert all(part.at_once for part in closed)
    opened = share(Open(sent, [float(n) for n in range(count)]), processes)
    pairs = [pair for part in opened for pair in zip(part.messages, part.starts, strict=True)]
    assert sorted(pairs) == sorted((b"%d" % n, float(n)) for n in range(count))


def test_arrivals_of_a_rate() -> None:
    times = poisson(50, 5000, seed=1)
    gaps = [b - a for a, b in pairwise(times)]
    assert mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert min(gaps) >= 0
    # Independent arrivals: a gap above the mean has a probability of 1/e.
    assert mean(gap > 1 / 50 for gap in gaps) == pytest.approx(0.368, abs=0.02)


def test_drawn_lengths_have_their_mean() -> None:
    random = Random(1)
    drawn = [Length(600, drawn=True).sample(random) for _ in range(20_000)]
    assert mean(drawn) == pytest.approx(600, rel=0.03)
    assert sorted(drawn)[10_000] == pytest.approx(436, rel=0.03)  # 600 * exp(-0.8^2 / 2)
    assert min(drawn) >= 1
    assert max(drawn) <= LONGEST * 600


def test_lengths_are_read() -> None:
    assert Length.parse("512") == Length(512)
    assert Length.parse("lognormal:600") == Length(600, drawn=True)


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "uniform:3", ":3", "lognormal:"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 512"):
        Length.parse(text)


def test_prompts_are_new_except_for_their_prefix() -> None:
    prompts = Prompts(Length(4), Length(2), vocabulary=1000, prefix=8, seed=3)
    first, second, third = islice(prompts.draw(), 3)
    assert first.tokens[:8] == second.tokens[:8] == third.tokens[:8]
    assert len({p.tokens[8:] for p in (first, second, third)}) == 3
    assert all(256 <= token < 1000 for token in first.tokens)
    assert next(prompts.draw()) == first
    assert next(Prompts(Length(4), Length(2), 1000, 8, seed=4).draw()) != first


def body(target: Target, **more: Any) -> dict[str, Any]:
    head, _, content = target.completion(Prompt((256, 281, 282), 5)).partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(content) in head
    return json.loads(content)


def test_dialects() -> None:
    common = {"model": "m", "max_tokens": 5, "stream": True}
    usage = {"stream_options": {"include_usage": True}}
    ids = {"prompt": [256, 281, 282]}
    plain = Target("h", 1, "m", Dialect.OPENAI)
    assert body(plain) == common | usage | ids
    assert body(Target("h", 1, "m")) == common | usage | ids | {"ignore_eos": True}
    text = Target("h", 1, "m", Dialect.TRANSFORMERS, extra={"temperature": 0})
    assert body(text) == common | {"prompt": " a z aa", "temperature": 0}


def test_urls() -> None:
    target = at("http://example.org:81/base/v1/", model="m", headers=(("Authorization", "x"),))
    assert target.get("/metrics").startswith(
        b"GET /base/metrics HTTP/1.1\r\nHost: example.org:81\r\n"
    )
    assert b"\r\nAuthorization: x\r\n" in target.get("/")
    for url in ("https://example.org", "example.org:80", "http://"):
        with pytest.raises(BenchError, match="is not an HTTP URL: write one"):
            at(url)


@pytest.fixture(scope="session")
def own(serve_family: Callable[[str], Any]) -> Target:
    """This project's server of a tiny model."""
    server = serve_family("llama")
    return at(server.url, model="llama")


def test_this_project_s_server_is_measured_in_its_own_dialect(own: Target) -> None:
    prompts = Prompts(Length(20), Length(9), vocabulary=600)
    sent = [own.completion(prompt) for prompt in islice(prompts.draw(), 6)]
    before = counters.read(own)
    began = time.monotonic()
    figures = summarize(timings(own, Closed(sent, 3)))
    assert figures["failed"] == 0
    assert (figures["prompt_tokens"], figures["output_tokens"]) == (6 * 20, 6 * 9)
    assert figures["seconds"] <= time.monotonic() - began
    assert figures["itl_ms"]["mean"] > 0
    moved = counters.moved(before, counters.read(own))
    assert moved["prompt_tokens_total"] == 6 * 20
    assert moved["generation_tokens_total"] == 6 * 9


def test_a_cached_prefix_is_measured(own: Target) -> None:
    figures = Workloads(own, vocabulary=600, context=4096).again(2048)
    assert figures["prefix_tokens"] == 2048
    assert 0 < figures["second_to_first"] < 1
