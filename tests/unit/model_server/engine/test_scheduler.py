"""The scheduler, with a model that detects every error in the block tables."""

from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_server.engine.block_manager import BlockManager
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.scheduler import Scheduler, StepLimits
from deepseek_server.engine.sequence import Sequence
from deepseek_server.engine.types import Request, Sampling
from tests.unit.model_server.engine.fake_model import FakeModel, answer

LARGE = StepLimits(max_num_batched_tokens=100, prefill_share=100, max_num_seqs=100)


class Rig:
    """A scheduler and its model, stepped manually.

    With `overlap`, the tokens of a step become known only after the next one was launched.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        limits: StepLimits,
        *,
        overlap: bool = False,
    ) -> None:
        self.model = FakeModel(num_blocks, block_size)
        self.blocks = BlockManager(num_blocks, block_size)
        self.scheduler: Scheduler[Sequence] = Scheduler(self.blocks, limits)
        self._overlap = overlap
        self._in_flight: list[tuple[list[tuple[Sequence, Chunk]], list[int]]] = []

    def add(self, prompt: list[int], max_tokens: int) -> Sequence:
        sequence = Sequence(Request("r", tuple(prompt), Sampling(max_tokens)))
        self.scheduler.add(sequence)
        return sequence

    @property
    def busy(self) -> bool:
        return bool(self.scheduler.running or self.scheduler.waiting or self._in_flight)

    def step(self) -> list[tuple[Sequence, Chunk]]:
        plan = self.scheduler.schedule()
        if plan:
            tokens = self.model.tokens([chunk for _, chunk in plan])
            self.model.store_sampled_tokens(torch.tensor(tokens))
            self._in_flight.append((plan, tokens))
        if self._in_flight and (len(self._in_flight) > self._overlap or not plan):
            self._postprocess(*self._in_flight.pop(0))
        return plan

    def _postprocess(self, plan: list[tuple[Sequence, Chunk]], chosen: list[int]) -> None:
        tokens = iter(chosen)
        for sequence, chunk in plan:
            if chunk.sample:
                sequence.tokens.append(next(tokens))
                sequence.num_unresolved_tokens -= 1
        for sequence, chunk in plan:
            self.scheduler.postprocess(sequence, chunk)
            if len(sequence.tokens) - len(sequence.request.prompt) == (
                sequence.request.sampling.max_tokens
            ):
                self.scheduler.remove(sequence)


@dataclass
class Job:
    """A request with the step before which it arrives, and the one before which it is cancelled."""

    prompt: list[int]
    max_tokens: int
    arrives: int
    cancelled: int | None
    sequence: Sequence | None = None


JOBS = st.lists(
    st.builds(
        Job,
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=12),
        max_tokens=st.integers(1, 8),
        arrives=st.integers(0, 12),
        cancelled=st.none() | st.integers(0, 30),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=400, deadline=None)
@given(
    jobs=JOBS,
    block_size=st.integers(1, 4),
    more_blocks=st.integers(0, 12),
    limits=st.builds(
        StepLimits,
        max_num_batched_tokens=st.integers(1, 24),
        prefill_share=st.integers(1, 8),
        max_num_seqs=st.integers(1, 6),
    ),
    overlap=st.booleans(),
)
def test_every_sequence_gets_exactly_its_tokens(
    jobs: list[Job], block_size: int, more_blocks: int, limits: StepLimits, overlap: bool
) -> None:
    largest = max(-(-(len(job.prompt) + job.max_tokens) // block_size) for job in jobs)
    rig = Rig(largest + more_blocks, block_size, limits, overlap=overlap)
    jobs.sort(key=lambda job: job.arrives)
    work = sum(len(job.prompt) + job.max_tokens for job in jobs)
    for now in range(12 + 40 * work):
        for job in jobs:
            if job.arrives == now:
                job.sequence = rig.add(job.prompt, job.max_tokens)
            if job.sequence is not None and job.cancelled == now:
                rig.scheduler.remove(job.sequence)
        plan = rig.step()
        assert sum(len(chunk) for _, chunk in plan) <= limits.max_num_batched_tokens
        assert len(plan) <= limits.max_num_seqs
        if now >= 12 and not rig.busy:
            break
    else:
        raise AssertionError("it does not end")
    for job in jobs:
        given_out = job.sequence.tokens[len(job.prompt) :]
        assert given_out == answer(job.prompt, len(given_out))
        assert len(given_out) <= job.max_tokens
        if job.cancelled is None or job.cancelled < job.arrives:
            assert len(given_out) == job.max_tokens
    assert rig.blocks.available == rig.blocks.num_blocks


def test_a_long_prompt_delays_no_running_answer() -> None:
    rig = Rig(100, 4, StepLimits(max_num_batched_tokens=10, prefill_share=6, max_num_seqs=8))
    running = [rig.add([n], max_tokens=50) for n in range(4)]
    rig.step()
    long = rig.add([9] * 60, max_tokens=1)
    for _ in range(10):
        plan = dict(rig.step())
        assert all(len(plan[sequence]) == 1 for sequence in running)
        assert len(plan[long]) == 6
    assert long.generated == 1


def test_a_cached_prompt_is_not_computed_again() -> None:
    rig = Rig(20, 4, LARGE)
    prompt = list(range(11))
    for again, computed in (([], 11), ([], 3), ([20, 21], 5)):
        sequence = rig.add(prompt + again, max_tokens=1)
        ((_, chunk),) = rig.step()
        assert len(chunk) == computed
        assert sequence.num_cached_tokens == len(prompt + again) - computed
    assert rig.scheduler.prompt_tokens == 11 + 11 + 13
    assert rig.scheduler.prompt_tokens_found == 8 + 8


def test_the_last_token_is_computed_even_if_the_cache_has_all_blocks() -> None:
    rig = Rig(20, 4, LARGE)
    for computed in (8, 4):
        rig.add(list(range(8)), max_tokens=1)
        ((_, chunk),) = rig.step()
        assert len(chunk) == computed


def test_the_youngest_is_preempted_and_returns_first() -> None:
    rig = Rig(8, 1, LARGE)
    old, young, last = (rig.add([n, n], max_tokens=6) for n in range(3))
    for _ in range(4):
        rig.step()
    assert rig.scheduler.preemptions > 0
    assert list(rig.scheduler.running) == [old]
    assert list(rig.scheduler.waiting) == [young, last]
    while rig.step():
        pass
    for sequence in (old, young, last):
        assert sequence.tokens[2:] == answer(sequence.tokens[:2], 6)


def test_prompts_take_a_larger_share_of_a_step_the_more_of_them_wait() -> None:
    for waiting, taken in ((1, 8), (2, 8), (3, 16), (9, 40), (100, 63)):
        rig = Rig(400, 4, StepLimits(max_num_batched_tokens=64, prefill_share=8, max_num_seqs=200))
        answering = rig.add([1], max_tokens=50)
        rig.step()
        for number in range(waiting):
            rig.add([2 + number] * 30, max_tokens=1)
        plan = rig.step()
        assert sum(len(chunk) for sequence, chunk in plan if sequence is not answering) == taken


def test_concurrent_equal_prompts_are_computed_once() -> None:
    rig = Rig(100, 4, LARGE)
    prompt = list(range(11))
    first, second, third = (rig.add(prompt, max_tokens=1) for _ in range(3))
    other = rig.add([40] * 9, max_tokens=1)
    assert [(sequence, len(chunk)) for sequence, chunk in rig.step()] == [(first, 11), (other, 9)]
    assert [(sequence, len(chunk)) for sequence, chunk in rig.step()] == [(second, 3), (third, 3)]


def test_prompts_are_computed_again_without_prefix_sharing() -> None:
    rig = Rig(100, 4, LARGE)
    rig.blocks.shares = False
    prompt = list(range(11))
    for _ in range(2):
        rig.add(prompt, max_tokens=1)
    assert [len(chunk) for _, chunk in rig.step()] == [11, 11]
    rig.add(prompt, max_tokens=1)
    assert [len(chunk) for _, chunk in rig.step()] == [11]


def test_a_sequence_with_penalties_waits_for_its_last_token() -> None:
    rig = Rig(100, 4, LARGE, overlap=True)
    sequence = Sequence(Request("r", (1, 2), Sampling(max_tokens=3, presence_penalty=1.0)))
    rig.scheduler.add(sequence)
    assert [len(rig.step()) for _ in range(6)] == [1, 0, 1, 0, 1, 0]
    assert sequence.tokens[2:] == answer([1, 2], 3)


def test_a_late_step_of_a_readmitted_sequence_caches_only_recomputed_blocks() -> None:
    rig = Rig(100, 4, StepLimits(max_num_batched_tokens=4, prefill_share=4, max_num_seqs=8))
    sequence = rig.add(list(range(12)), max_tokens=1)
    rig.scheduler.schedule()
    ((_, second),) = rig.scheduler.schedule()
    assert second.end == 8
    rig.scheduler.remove(sequence)
    rig.scheduler.add(sequence)
    rig.scheduler.schedule()
    rig.scheduler.postprocess(sequence, second)
    assert len(rig.blocks.find(sequence.keys(2, 4))) == 1
