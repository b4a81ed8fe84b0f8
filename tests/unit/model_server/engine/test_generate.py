"""The engine alone: order, bounds, cancelling, faults and the end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from deepseek_server.engine.generate import GenerateEngine
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
from deepseek_server.models.codec import TokenizerCodec

PROMPT = (0, 2, 447, 395, 391, 34, 3)
EOS = 1


class Door:
    """A model whose `generate` waits until the test lets it in, or fails if the test says so."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.fault: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, *arguments: Any, **options: Any) -> Any:
        self.entered.set()
        assert self.open.wait(10)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return self._model.generate(*arguments, **options)


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Path]) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny("llama"), dtype=torch.float32).eval()


@pytest.fixture
def door(model: Any) -> Door:
    return Door(model)


@pytest.fixture
async def engine(door: Door, tiny: Callable[[str], Path]) -> AsyncIterator[GenerateEngine]:
    codec = TokenizerCodec(tiny("llama"))
    made = GenerateEngine(door, codec.decode, frozenset({EOS}), Limits(context=4096, waiting=2))
    yield made
    door.open.set()
    await made.close()


def request(name: str = "r", **sampling: Any) -> Request:
    return Request(name, PROMPT, Sampling(**{"max_tokens": 20, "temperature": 0.0, **sampling}))


async def outputs(stream: OutputStream) -> list[Output]:
    return [output async for output in stream]


async def tokens(stream: OutputStream) -> list[int]:
    return [token for output in await outputs(stream) for token in output.token_ids]


async def test_greedy_tokens_are_those_of_generate(engine: GenerateEngine, model: Any) -> None:
    expected = model.generate(
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT)),
        max_new_tokens=20,
        do_sample=False,
    )[0, len(PROMPT) :].tolist()
    results = await outputs(engine.submit(request()))
    assert [token for output in results for token in output.token_ids] == expected
    assert [output.finish_reason for output in results] == [None] * 19 + ["length"]


async def test_a_seed_repeats_itself_and_no_seed_does_not(engine: GenerateEngine) -> None:
    async def draw(seed: int | None) -> list[int]:
        return await tokens(engine.submit(request(temperature=1.0, seed=seed)))

    first = await draw(7)
    await draw(None)
    assert await draw(7) == first
    assert await draw(8) != first
    assert await draw(None) != await draw(None)


async def test_a_narrow_top_p_is_greedy(engine: GenerateEngine) -> None:
    greedy = await tokens(engine.submit(request()))
    assert await tokens(engine.submit(request(temperature=1.0, top_p=1e-9))) == greedy


@pytest.fixture
async def ends_early(door: Door, tiny: Callable[[str], Path], engine: GenerateEngine):
    """An engine for which the fifth greedy token is the end token, and that token."""
    fifth = (await tokens(engine.submit(request())))[4]
    decode = TokenizerCodec(tiny("llama")).decode
    made = GenerateEngine(door, decode, frozenset({fifth}), Limits(context=4096, waiting=2))
    yield made, fifth
    await made.close()


async def test_the_models_end_token_ends(ends_early) -> None:
    engine, end = ends_early
    results = await outputs(engine.submit(request()))
    assert len(results) == 5
    assert results[-1].token_ids == (end,)
    assert results[-1].finish_reason == "stop"


async def test_ignore_eos_and_min_tokens(ends_early) -> None:
    engine, end = ends_early
    assert len(await tokens(engine.submit(request(ignore_eos=True)))) == 20
    at_least = await tokens(engine.submit(request(min_tokens=10)))
    assert len(at_least) >= 10
    assert end not in at_least[:10]


async def test_requests_run_in_order_and_the_queue_has_a_bound(
    engine: GenerateEngine, door: Door
) -> None:
    door.open.clear()
    first = engine.submit(request("1"))
    await asyncio.to_thread(door.entered.wait, 10)
    second, third = engine.submit(request("2")), engine.submit(request("3"))
    assert engine.load == Load(running=1, waiting=2)
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        engine.submit(request("4"))
    second.cancel()  # a client that is gone makes room
    fourth = engine.submit(request("4"))
    door.open.set()
    ended: list[str] = []

    async def read(name: str, stream: OutputStream) -> None:
        await outputs(stream)
        ended.append(name)

    await asyncio.gather(read("1", first), read("3", third), read("4", fourth))
    assert ended == ["1", "3", "4"]


async def test_cancelling_ends_the_running_request_at_its_next_step(
    engine: GenerateEngine,
) -> None:
    stream = engine.submit(request(max_tokens=4000))
    await anext(stream)
    stream.cancel()
    # The next request is answered long before 4000 steps are over.
    assert len(await asyncio.wait_for(tokens(engine.submit(request())), 5)) == 20


async def test_a_fault_fails_its_request_only(engine: GenerateEngine, door: Door) -> None:
    door.fault = RuntimeError("CUDA out of memory")
    with pytest.raises(EngineError, match="generation failed: RuntimeError: CUDA out of memory"):
        await outputs(engine.submit(request()))
    assert len(await tokens(engine.submit(request()))) == 20
    assert engine.alive


async def test_closing_ends_what_runs_and_what_waits(engine: GenerateEngine) -> None:
    running, waiting = engine.submit(request(max_tokens=4000)), engine.submit(request())
    await anext(running)
    await engine.close()
    for stream in (running, waiting):
        with pytest.raises(EngineClosedError, match="shutting down"):
            await outputs(stream)
    with pytest.raises(EngineClosedError):
        engine.submit(request())


async def test_the_checkpoints_own_sampling_does_not_leak_in(
    engine: GenerateEngine, model: Any
) -> None:
    # generation_config.json says temperature 0.6; a request at 0 must not sample.
    assert await tokens(engine.submit(request())) == await tokens(engine.submit(request()))
    assert model.generation_config.temperature == 0.6  # the door keeps the engine's own copy
