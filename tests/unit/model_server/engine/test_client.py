"""The engine client: streams of text from an engine in another thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from multiprocessing import Pipe
from typing import Any

import pytest

from deepseek_server.engine.client import EngineClient
from deepseek_server.engine.core import Core
from deepseek_server.engine.ipc import Close, Lost
from deepseek_server.engine.loop import serve
from deepseek_server.engine.scheduler import StepLimits
from deepseek_server.engine.types import (
    EngineClosedError,
    EngineError,
    EngineGoneError,
    Limits,
    Load,
    Output,
    OutputStream,
    QueueFullError,
    Request,
    Sampling,
)
from deepseek_server.engine.watchdog import Watchdog
from tests.unit.model_server.engine.fake_model import VOCABULARY, FakeModel, answer

PROMPT = (7, 3, 9, 1, 4)
NO_TOKEN = frozenset({VOCABULARY})


def decode(tokens: Sequence[int]) -> str:
    """Return two digits per token."""
    return "".join(f"{token:02}" for token in tokens)


Make = Callable[..., EngineClient]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Engines in a thread, each behind a pipe."""
    made: list[tuple[EngineClient, threading.Thread]] = []

    def engine(
        model: FakeModel,
        decoder: Callable[[Sequence[int]], str] = decode,
        *,
        waiting: int = 2,
        sequences: int = 4,
        watchdog: Watchdog | None = None,
    ) -> EngineClient:
        here, there = Pipe()

        def work() -> None:
            serve(Core(model, NO_TOKEN, StepLimits(16, 16, sequences)), there)
            there.close()

        thread = threading.Thread(target=work)
        thread.start()
        limits = Limits(context=4096, waiting=waiting)
        client = EngineClient(
            here,
            decoder,
            limits,
            sequences,
            lambda: "it ended by itself",
            lambda: None,
            watchdog or Watchdog(60),
        )
        made.append((client, thread))
        return client

    yield engine
    for client, thread in made:
        await client.close()
        thread.join(10)
        assert not thread.is_alive()


class Gate:
    """Blocks a model before its first step."""

    def __init__(self, model: FakeModel) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        model.before = self._wait

    def _wait(self) -> None:
        self._entered.set()
        assert self._open.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 10)

    def open(self) -> None:
        self._open.set()


names = iter(range(10**6))


def request(prompt: Sequence[int] = PROMPT, **sampling: Any) -> Request:
    return Request(
        str(next(names)),
        tuple(prompt),
        Sampling(**{"max_tokens": 8, "temperature": 0.0, **sampling}),
    )


async def outputs(stream: OutputStream) -> list[Output]:
    return [output async for output in stream]


async def tokens(stream: OutputStream) -> list[int]:
    return [token for output in await outputs(stream) for token in output.token_ids]


async def quiet(engine: EngineClient) -> None:
    """Wait until no request runs."""
    async with asyncio.timeout(10):
        while engine.load != Load(0, 0, 0.0):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def test_an_answer(make: Make) -> None:
    results = await outputs(make(FakeModel(64, 4)).submit(request()))
    expected = answer(PROMPT, 8)
    assert [token for output in results for token in output.token_ids] == expected
    assert "".join(output.text for output in results) == decode(expected)
    assert [output.finish_reason for output in results][-1] == "length"


async def test_without_a_seed_answers_differ(make: Make) -> None:
    model = FakeModel(64, 4)
    run = model.run
    model.run = lambda chunks: run(chunks) * 0.02  # flat enough to draw from
    engine = make(model)
    free, as_free = (engine.submit(request(temperature=1.0, seed=None)) for _ in range(2))
    assert await tokens(free) != await tokens(as_free)


async def test_a_slow_reader_gets_all_arrived_tokens_in_one_output(make: Make) -> None:
    engine = make(FakeModel(64, 4))
    slow, quick = engine.submit(request()), engine.submit(request())
    await outputs(quick)
    await quiet(engine)
    (output,) = await outputs(slow)
    assert output.token_ids == tuple(answer(PROMPT, 8))
    assert (output.text, output.finish_reason) == (decode(output.token_ids), "length")
    assert output.queue_seconds >= 0


async def test_a_stop_string_across_two_tokens_cancels_the_request_in_the_engine(
    make: Make,
) -> None:
    engine = make(FakeModel(200, 4))
    text = decode(answer(PROMPT, 400))
    stop = text[5:7]
    results = await outputs(engine.submit(request(max_tokens=400, stop=(stop,))))
    assert "".join(output.text for output in results) == text[: text.index(stop)]
    assert results[-1].finish_reason == "stop"
    await quiet(engine)


async def test_outputs_have_the_cached_tokens(make: Make) -> None:
    engine = make(FakeModel(64, 4))
    assert {output.cached_tokens for output in await outputs(engine.submit(request()))} == {0}
    assert {output.cached_tokens for output in await outputs(engine.submit(request()))} == {4}


async def test_the_queue_is_limited_in_addition_to_running_requests(make: Make) -> None:
    model = FakeModel(64, 4)
    gate = Gate(model)
    engine = make(model, sequences=1, waiting=2)
    first = engine.submit(request())
    await gate.reached()
    second, third = engine.submit(request()), engine.submit(request())
    assert sum((engine.load.running, engine.load.waiting)) == 3
    with pytest.raises(QueueFullError, match="2 requests are already waiting"):
        engine.submit(request())
    second.cancel()  # a disconnected client frees its slot
    fourth = engine.submit(request())
    gate.open()
    for stream in (first, third, fourth):
        assert await tokens(stream) == answer(PROMPT, 8)


async def test_cancelling_removes_the_request_from_the_engine(make: Make) -> None:
    engine = make(FakeModel(2000, 4))
    stream = engine.submit(request(max_tokens=4000))
    await anext(stream)
    assert engine.load.running == 1
    stream.cancel()
    assert engine.load.running == 0
    await quiet(engine)
    assert await tokens(engine.submit(request())) == answer(PROMPT, 8)


async def test_an_exception_fails_its_request(make: Make) -> None:
    model = FakeModel(64, 4)
    engine = make(model)

    def fail() -> None:
        model.before = lambda: None
        raise RuntimeError("it broke")

    model.before = fail
    with pytest.raises(EngineError, match="generation failed: RuntimeError: it broke"):
        await outputs(engine.submit(request()))
    assert await tokens(engine.submit(request())) == answer(PROMPT, 8)
    assert engine.alive


async def test_an_invalid_grammar_only_fails_its_request(make: Make) -> None:
    engine = make(FakeModel(64, 4))
    bad, good = engine.submit(request(grammar="?")), engine.submit(request())
    with pytest.raises(EngineError, match="grammar"):
        await outputs(bad)
    assert await tokens(good) == answer(PROMPT, 8)


async def test_a_decoding_error_only_fails_its_request(make: Make) -> None:
    def picky(tokens: Sequence[int]) -> str:
        if answer((1, 2), 3)[2] in tokens:
            raise ValueError("no such token")
        return decode(tokens)

    engine = make(FakeModel(64, 4), picky)
    failing, other = engine.submit(request((1, 2))), engine.submit(request(max_tokens=2))
    with pytest.raises(EngineError, match="ValueError: no such token"):
        await outputs(failing)
    assert await tokens(other) == answer(PROMPT, 2)
    await quiet(engine)


async def test_a_lost_device_ends_all_requests(make: Make) -> None:
    model = FakeModel(64, 4)

    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    model.before = fail
    engine = make(model, sequences=1)
    for stream in (engine.submit(request()), engine.submit(request())):
        with pytest.raises(EngineError, match="illegal memory access"):
            await outputs(stream)
    assert not engine.alive
    with pytest.raises(EngineGoneError, match="illegal memory access"):
        engine.submit(request())


async def test_a_stuck_engine_is_not_alive_until_it_makes_progress(make: Make) -> None:
    """Even without waiting clients, whose timeouts are shorter than the watchdog's."""
    model, now = FakeModel(64, 4), [0.0]
    gate = Gate(model)
    engine = make(model, watchdog=Watchdog(60, lambda: now[0]))
    stream = engine.submit(request())
    await gate.reached()
    now[0] += 60
    assert engine.alive
    stream.cancel()
    now[0] += 1
    assert not engine.alive
    gate.open()
    async with asyncio.timeout(10):
        while not engine.alive:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def test_a_lost_engine_ends_all_requests() -> None:
    here, there = Pipe()
    engine = EngineClient(
        here,
        decode,
        Limits(100, 2),
        4,
        lambda: "it was killed by SIGKILL",
        lambda: None,
        Watchdog(60),
    )
    stream = engine.submit(request())
    there.recv()
    there.close()
    with pytest.raises(EngineError, match="it was killed by SIGKILL"):
        await outputs(stream)
    assert not engine.alive
    await engine.close()


async def test_totals_are_complete_when_the_engine_is_idle(make: Make) -> None:
    """Totals are not sent with every step, but must be current when the engine becomes idle."""
    engine = make(FakeModel(64, 4))
    for number in range(1, 4):
        await tokens(engine.submit(request((number, *PROMPT))))
        assert engine.totals.prompt_tokens == number * (1 + len(PROMPT))
        assert engine.totals.step_tokens.total >= number * (1 + len(PROMPT))


async def test_closing_leaves_no_process() -> None:
    here, there = Pipe()
    ended = []

    def finish() -> None:
        assert isinstance(there.recv(), Close), "first it is asked to"
        ended.append(True)

    engine = EngineClient(here, decode, Limits(100, 2), 4, lambda: "", finish, Watchdog(60))
    there.send(Lost("so that nothing is read any more"))
    await engine.close()
    assert ended


async def test_closing_ends_running_and_waiting_requests(make: Make) -> None:
    engine = make(FakeModel(2000, 4), sequences=1)
    running, waiting = engine.submit(request(max_tokens=4000)), engine.submit(request())
    await anext(running)
    await engine.close()
    for stream in (running, waiting):
        with pytest.raises(EngineClosedError, match="shutting down"):
            await outputs(stream)
    with pytest.raises(EngineClosedError):
        engine.submit(request())
    assert engine.alive


async def test_one_wake_up_of_the_event_loop_per_step(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, woken = asyncio.get_running_loop(), 0
    call = loop.call_soon_threadsafe

    def count(*arguments: Any) -> Any:
        nonlocal woken
        woken += 1
        return call(*arguments)

    model = FakeModel(64, 4)
    engine = make(model)
    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    await asyncio.gather(*(tokens(engine.submit(request(max_tokens=20))) for _ in range(4)))
    monkeypatch.undo()
    assert woken <= len(model.steps)
