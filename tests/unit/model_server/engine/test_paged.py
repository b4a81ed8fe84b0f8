"""The paged engine: its step loop, and what happens at its edges."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from deepseek_server.engine.interface import (
    EngineClosedError,
    EngineError,
    Limits,
    Load,
    Output,
    OutputStream,
    QueueFullError,
    Request,
    Sampling,
)
from deepseek_server.engine.paged import PagedEngine
from tests.unit.model_server.engine.fake_model import VOCABULARY, FakeModel, answer

PROMPT = (7, 3, 9, 1, 4)
NO_TOKEN = frozenset({VOCABULARY})


def decode(tokens: Sequence[int]) -> str:
    """Two digits per token."""
    return "".join(f"{token:02}" for token in tokens)


Make = Callable[..., PagedEngine]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[PagedEngine] = []

    def engine(
        model: FakeModel,
        eos: frozenset[int] = NO_TOKEN,
        decoder: Callable[[Sequence[int]], str] = decode,
        **options: int,
    ) -> PagedEngine:
        limits = Limits(context=options.pop("context", 4096), waiting=options.pop("waiting", 2))
        sizes = {"token_budget": 16, "max_sequences": 4, **options}
        made.append(PagedEngine(model, decoder, eos, limits, **sizes))
        return made[-1]

    yield engine
    for engine_made in made:
        await engine_made.close()


def request(prompt: Sequence[int] = PROMPT, **sampling: Any) -> Request:
    return Request(
        "r", tuple(prompt), Sampling(**{"max_tokens": 8, "temperature": 0.0, **sampling})
    )


async def outputs(stream: OutputStream) -> list[Output]:
    return [output async for output in stream]


async def tokens(stream: OutputStream) -> list[int]:
    return [token for output in await outputs(stream) for token in output.token_ids]


class Gate:
    """Lets a model make so many steps and then holds it."""

    def __init__(self, model: FakeModel) -> None:
        self.entered, self._open = threading.Event(), threading.Event()
        model.before = self._wait

    def _wait(self) -> None:
        self.entered.set()
        assert self._open.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)

    def open(self) -> None:
        self._open.set()


async def test_an_answer(make: Make) -> None:
    results = await outputs(make(FakeModel(64, 4)).submit(request()))
    expected = answer(PROMPT, 8)
    assert [output.token_ids for output in results] == [(token,) for token in expected]
    assert "".join(output.text for output in results) == decode(expected)
    assert [output.finish_reason for output in results] == [None] * 7 + ["length"]


async def test_many_at_once_with_long_prompts_among_them_and_few_blocks(make: Make) -> None:
    engine = make(FakeModel(30, 4), waiting=100)
    prompts = [[n % 2] * (1 + n * 29 % 60) for n in range(24)]
    answers = await asyncio.gather(
        *(tokens(engine.submit(request(prompt, max_tokens=20))) for prompt in prompts)
    )
    assert list(answers) == [answer(prompt, 20) for prompt in prompts]
    assert engine.totals.preemptions > 0
    assert engine.totals.prompt_tokens_found > 0
    assert engine.load == Load(running=0, waiting=0, cache=0.0)


async def test_a_seed_repeats_itself_in_any_company_and_no_seed_does_not(make: Make) -> None:
    model = FakeModel(64, 4)
    run = model.run
    model.run = lambda chunks: run(chunks) * 0.02  # flat enough to draw from
    engine = make(model, waiting=20)

    async def draw(seed: int | None) -> list[int]:
        return await tokens(engine.submit(request(temperature=1.0, seed=seed)))

    first = await draw(7)
    again, other, free, as_free = await asyncio.gather(draw(7), draw(8), draw(None), draw(None))
    assert again == first
    assert other != first
    assert free != as_free


async def test_the_end_token_ends_unless_it_must_not(make: Make) -> None:
    expected = answer(PROMPT, 8)
    end = expected[4]
    assert end not in expected[:4]
    engine = make(FakeModel(64, 4), eos=frozenset({end}))
    results = await outputs(engine.submit(request()))
    assert len(results) == 5
    assert results[-1].finish_reason == "stop"
    assert "".join(output.text for output in results) == decode(expected[:4])
    assert await tokens(engine.submit(request(ignore_eos=True))) == expected
    assert end not in (await tokens(engine.submit(request(min_tokens=8))))


async def test_a_stop_text_across_two_tokens(make: Make) -> None:
    expected = answer(PROMPT, 8)
    stop = decode(expected)[5:7]
    results = await outputs(make(FakeModel(64, 4)).submit(request(stop=(stop,))))
    text = decode(expected)
    assert "".join(output.text for output in results) == text[: text.index(stop)]
    assert results[-1].finish_reason == "stop"


async def test_outputs_say_what_the_cache_had(make: Make) -> None:
    engine = make(FakeModel(64, 4))
    assert {output.cached_tokens for output in await outputs(engine.submit(request()))} == {0}
    assert {output.cached_tokens for output in await outputs(engine.submit(request()))} == {4}
    longer = request((*PROMPT, *answer(PROMPT, 8), 5))
    assert {output.cached_tokens for output in await outputs(engine.submit(longer))} == {12}


async def test_the_queue_has_a_bound_beyond_those_that_run(make: Make) -> None:
    model = FakeModel(64, 4)
    gate = Gate(model)
    engine = make(model, max_sequences=1, waiting=2)
    first = engine.submit(request())
    await gate.reached()
    second, third = engine.submit(request()), engine.submit(request())
    assert (engine.load.running, engine.load.waiting) == (1, 2)
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        engine.submit(request())
    second.cancel()  # a client that is gone makes room
    fourth = engine.submit(request())
    gate.open()
    for stream in (first, third, fourth):
        assert await tokens(stream) == answer(PROMPT, 8)


async def test_a_burst_that_can_run_at_once_is_not_refused(make: Make) -> None:
    model = FakeModel(64, 4)
    gate = Gate(model)
    engine = make(model, max_sequences=10, waiting=0)
    streams = [engine.submit(request()) for _ in range(10)]
    with pytest.raises(QueueFullError):
        engine.submit(request())
    gate.open()
    for stream in streams:
        assert await tokens(stream) == answer(PROMPT, 8)


async def test_cancelling_frees_the_blocks_with_the_next_step(make: Make) -> None:
    engine = make(FakeModel(64, 4))
    stream = engine.submit(request(max_tokens=200))
    await anext(stream)
    assert engine.load.cache > 0
    stream.cancel()
    assert engine.load.running == 0
    assert await asyncio.wait_for(tokens(engine.submit(request())), 5) == answer(PROMPT, 8)
    assert engine.load.cache == 0


async def test_a_fault_fails_the_requests_of_its_step_only(make: Make) -> None:
    model = FakeModel(64, 4)
    gate = Gate(model)
    engine = make(model, max_sequences=2)
    concerned = [engine.submit(request()), engine.submit(request())]
    waiting = engine.submit(request())
    await gate.reached()

    def fail() -> None:
        model.before = lambda: None
        raise RuntimeError("CUDA out of memory")

    # The first step began before the second request came, perhaps; the next one has both.
    model.before = fail
    gate.open()
    for stream in concerned:
        with pytest.raises(EngineError, match="generation failed: RuntimeError: CUDA out of mem"):
            await outputs(stream)
    assert await tokens(waiting) == answer(PROMPT, 8)
    assert engine.load.cache == 0
    assert engine.alive


async def test_text_that_fails_concerns_its_request_only(make: Make) -> None:
    bad = answer((1, 2), 3)[2]

    def picky(tokens: Sequence[int]) -> str:
        if list(tokens) == [answer((1, 2), 2)[1], bad]:
            raise ValueError("no such token")
        return decode(tokens)

    engine = make(FakeModel(64, 4), decoder=picky)
    failing, other = engine.submit(request((1, 2))), engine.submit(request())
    with pytest.raises(EngineError, match="ValueError: no such token"):
        await outputs(failing)
    assert await tokens(other) == answer(PROMPT, 8)


async def test_a_lost_device_ends_everything(make: Make) -> None:
    model = FakeModel(64, 4)
    engine = make(model, max_sequences=1)

    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    model.before = fail
    running, waiting = engine.submit(request()), engine.submit(request())
    for stream in (running, waiting):
        with pytest.raises(EngineError, match="illegal memory access"):
            await outputs(stream)
    assert not engine.alive
    with pytest.raises(EngineClosedError, match="illegal memory access"):
        engine.submit(request())


async def test_closing_ends_what_runs_and_what_waits(make: Make) -> None:
    engine = make(FakeModel(2000, 4), max_sequences=1)
    running, waiting = engine.submit(request(max_tokens=4000)), engine.submit(request())
    await anext(running)
    await engine.close()
    for stream in (running, waiting):
        with pytest.raises(EngineClosedError, match="shutting down"):
            await outputs(stream)
    with pytest.raises(EngineClosedError):
        engine.submit(request())
    assert engine.alive


async def test_the_context_is_what_the_cache_can_hold(make: Make) -> None:
    engine = make(FakeModel(10, 4), context=4096)
    assert engine.limits.context == 40
    assert make(FakeModel(10, 4), context=30).limits.context == 30
    longest = request([2] * 30, max_tokens=10)
    assert await tokens(engine.submit(longest)) == answer([2] * 30, 10)


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
