"""The step loop: correct tokens in any batch, and edge cases."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from deepseek_server.engine.core import Core, DeviceLostError
from deepseek_server.engine.ipc import Failure, Result, Token
from deepseek_server.engine.scheduler import StepLimits
from deepseek_server.engine.types import Load, Request, Sampling
from tests.unit.model_server.engine.fake_model import VOCABULARY, FakeModel, answer

PROMPT = (7, 3, 9, 1, 4)
NO_TOKEN = frozenset({VOCABULARY})
SIZE = StepLimits(max_num_batched_tokens=16, prefill_share=16, max_num_seqs=4)


@pytest.fixture(params=[False, True], ids=["synchronous", "overlapping"])
def fake(request: pytest.FixtureRequest) -> Callable[..., FakeModel]:
    """Synchronous models, and models that compute asynchronously."""
    return lambda *size: FakeModel(*size, overlap_scheduling=request.param)


def request(name: str = "r", prompt: Sequence[int] = PROMPT, **sampling: Any) -> Request:
    return Request(
        name, tuple(prompt), Sampling(**{"max_tokens": 8, "temperature": 0.0, **sampling})
    )


def results(core: Core, *requests: Request, most: int = 1000) -> list[Result]:
    """Return all results of some requests."""
    for one in requests:
        core.add(one)
    found: list[Result] = []
    for _ in range(most):
        if core.idle:
            return found
        found += core.step()
    raise AssertionError("it does not end")


def tokens(found: list[Result], name: str = "r") -> list[int]:
    return [result.token for result in found if result.request == name]


def test_an_answer(fake) -> None:
    found = results(Core(fake(64, 4), NO_TOKEN, SIZE), request())
    assert tokens(found) == answer(PROMPT, 8)
    assert [result.finish_reason for result in found] == [None] * 7 + ["length"]


def test_many_requests_with_long_prompts_and_few_blocks(fake) -> None:
    core = Core(fake(30, 4), NO_TOKEN, SIZE)
    prompts = [[n % 2] * (1 + n * 29 % 60) for n in range(24)]
    requests = [request(str(n), prompt, max_tokens=20) for n, prompt in enumerate(prompts)]
    found = results(core, *requests)
    for n, prompt in enumerate(prompts):
        assert tokens(found, str(n)) == answer(prompt, 20)
    assert core.totals.preemptions > 0
    assert core.totals.prompt_tokens_found > 0
    assert core.load == Load(running=0, waiting=0, cache=0.0)


def test_a_step_is_launched_before_the_previous_one_has_completed() -> None:
    model = FakeModel(64, 4, overlap_scheduling=True)
    core = Core(model, NO_TOKEN, SIZE)
    core.add(request())
    assert core.step() == []
    assert len(core.step()) == 1
    assert len(model.steps) == 2
    assert model.steps[1][0].tokens is None  # not known on the CPU yet


def test_a_seed_repeats_in_any_batch(fake) -> None:
    model = fake(64, 4)
    run = model.run
    model.run = lambda chunks: run(chunks) * 0.02  # flat enough to draw from

    def draw(*seeds: int) -> list[list[int]]:
        core = Core(model, NO_TOKEN, SIZE)
        asked = [request(str(n), temperature=1.0, seed=seed) for n, seed in enumerate(seeds)]
        found = results(core, *asked)
        return [tokens(found, str(n)) for n in range(len(seeds))]

    (first,) = draw(7)
    again, other = draw(7, 8)
    assert again == first
    assert other != first


def test_the_end_token_ends_unless_ignored(fake) -> None:
    expected = answer(PROMPT, 8)
    end = expected[4]
    assert end not in expected[:4]
    core = Core(fake(64, 4), frozenset({end}), SIZE)
    found = results(core, request())
    assert tokens(found) == expected[:5]
    assert found[-1].finish_reason == "stop"
    assert core.load.cache == 0
    assert tokens(results(core, request(ignore_eos=True))) == expected
    assert end not in tokens(results(core, request(min_tokens=8)))


def test_a_request_can_name_more_end_tokens(fake) -> None:
    expected = answer(PROMPT, 8)
    core = Core(fake(64, 4), NO_TOKEN, SIZE)
    found = results(core, request(stop_token_ids=(expected[4],)))
    assert (tokens(found), found[-1].finish_reason) == (expected[:5], "stop")


def test_results_have_the_cached_tokens(fake) -> None:
    core = Core(fake(64, 4), NO_TOKEN, SIZE)

    def cached(asked: Request) -> set[int]:
        return {result.cached_tokens for result in results(core, asked)}

    assert cached(request()) == {0}
    assert cached(request()) == {4}
    assert cached(request(prompt=(*PROMPT, *answer(PROMPT, 8), 5))) == {12}


def test_cancelling_frees_the_blocks_at_once(fake) -> None:
    core = Core(fake(64, 4), NO_TOKEN, SIZE)
    core.add(request("gone", max_tokens=200))
    for _ in range(3):
        core.step()
    assert core.load.cache > 0
    core.cancel("gone")
    core.cancel("gone")
    assert core.load == Load(0, 0, 0.0)
    found = results(core, request())
    assert {result.request for result in found} == {"r"}
    assert tokens(found) == answer(PROMPT, 8)


def test_an_id_can_be_reused_while_its_last_step_is_in_flight(fake) -> None:
    core = Core(fake(64, 4), NO_TOKEN, SIZE)
    core.add(request(prompt=(5, 5), max_tokens=200))
    for _ in range(3):
        core.step()
    core.cancel("r")
    assert tokens(results(core, request())) == answer(PROMPT, 8)


def test_an_exception_only_fails_the_requests_of_its_steps(fake) -> None:
    model = fake(64, 4)
    core = Core(
        model, NO_TOKEN, StepLimits(max_num_batched_tokens=16, prefill_share=16, max_num_seqs=2)
    )
    for name, prompt in (("a", PROMPT), ("b", PROMPT[::-1]), ("waiting", PROMPT)):
        core.add(request(name, prompt))
    core.step()

    def fail() -> None:
        model.before = lambda: None
        raise RuntimeError("CUDA out of memory")

    model.before = fail
    failed = core.step()
    reason = "generation failed: RuntimeError: CUDA out of memory"
    assert [r for r in failed if isinstance(r, Failure)] == [
        Failure("a", reason),
        Failure("b", reason),
    ]
    assert tokens(results(core), "waiting") == answer(PROMPT, 8)
    assert core.load.cache == 0


def test_an_exception_when_tokens_arrive(fake, monkeypatch) -> None:
    core = Core(fake(64, 4), NO_TOKEN, SIZE)

    def fail(_: object) -> None:
        raise RuntimeError("it broke")

    with monkeypatch.context() as patch:
        patch.setattr("deepseek_server.engine.arrival.AsyncCopy.wait", fail)
        found = results(core, request())
    assert found == [Failure("r", "generation failed: RuntimeError: it broke")]
    assert tokens(results(core, request())) == answer(PROMPT, 8)


def test_a_lost_device_ends_the_engine(fake) -> None:
    model = fake(64, 4)
    core = Core(model, NO_TOKEN, SIZE)

    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    model.before = fail
    core.add(request())
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        core.step()


def test_out_of_memory_does_not_end_the_engine(fake) -> None:
    model = fake(64, 4)

    def fail() -> None:
        model.before = lambda: None
        raise torch.cuda.OutOfMemoryError("CUDA error: out of memory")

    model.before = fail
    core = Core(model, NO_TOKEN, SIZE)
    assert isinstance(results(core, request())[0], Failure)
    assert tokens(results(core, request())) == answer(PROMPT, 8)


def test_tokens_are_cheap_to_send() -> None:
    assert isinstance(Token("r", 1), tuple)
