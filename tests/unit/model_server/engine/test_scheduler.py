"""The scheduler, with a model that finds every mistake in the blocks."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_server.engine.blocks import BlockManager
from deepseek_server.engine.interface import Request, Sampling
from deepseek_server.engine.scheduler import Scheduler
from deepseek_server.engine.sequence import Sequence
from deepseek_server.engine.step import Chunk
from tests.unit.model_server.engine.fake_model import FakeModel, answer


class Rig:
    """A scheduler and its model, stepped by hand."""

    def __init__(
        self, num_blocks: int, block_size: int, token_budget: int, max_sequences: int = 100
    ) -> None:
        self.model = FakeModel(num_blocks, block_size)
        self.blocks = BlockManager(num_blocks, block_size)
        self.scheduler: Scheduler[Sequence] = Scheduler(
            self.blocks, token_budget=token_budget, max_sequences=max_sequences
        )

    def add(self, prompt: list[int], max_tokens: int) -> Sequence:
        sequence = Sequence(Request("r", tuple(prompt), Sampling(max_tokens)))
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[tuple[Sequence, Chunk]]:
        plan = self.scheduler.schedule()
        tokens = iter(self.model.tokens([chunk for _, chunk in plan]))
        for sequence, chunk in plan:
            self.scheduler.computed(sequence, chunk)
            if chunk.sample:
                sequence.tokens.append(next(tokens))
                if sequence.generated == sequence.request.sampling.max_tokens:
                    self.scheduler.remove(sequence)
        return plan


@dataclass
class Job:
    """A request that arrives before some step and may be cancelled before another."""

    prompt: list[int]
    max_tokens: int
    arrives: int
    cancelled: int | None
    sequence: Sequence | None = None
    first_token: int | None = field(default=None)


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
    token_budget=st.integers(1, 24),
    max_sequences=st.integers(1, 6),
)
def test_every_sequence_gets_exactly_its_tokens(
    jobs: list[Job], block_size: int, more_blocks: int, token_budget: int, max_sequences: int
) -> None:
    largest = max(-(-(len(job.prompt) + job.max_tokens) // block_size) for job in jobs)
    rig = Rig(largest + more_blocks, block_size, token_budget, max_sequences)
    jobs.sort(key=lambda job: job.arrives)
    work = sum(len(job.prompt) + job.max_tokens for job in jobs)
    for now in range(12 + 20 * work):
        for job in jobs:
            if job.arrives == now:
                job.sequence = rig.add(job.prompt, job.max_tokens)
            if job.sequence is not None and job.cancelled == now:
                rig.scheduler.remove(job.sequence)
        plan = rig.step()
        assert sum(len(chunk.tokens) for _, chunk in plan) <= token_budget
        assert len(plan) <= max_sequences
        assert plan or not (rig.scheduler.running or rig.scheduler.waiting)
        for job in jobs:
            if job.first_token is None and job.sequence is not None and job.sequence.generated:
                job.first_token = now
        if now >= 12 and not plan:
            break
    else:
        raise AssertionError("it does not end")
    for job in jobs:
        given_out = job.sequence.tokens[len(job.prompt) :]
        assert given_out == answer(job.prompt, len(given_out))
        if job.cancelled is None or job.cancelled < job.arrives:
            assert len(given_out) == job.max_tokens
    first_tokens = [job.first_token for job in jobs if job.first_token is not None]
    assert first_tokens == sorted(first_tokens)
    assert rig.blocks.available == rig.blocks.num_blocks


def test_a_long_prompt_holds_up_no_running_answer() -> None:
    rig = Rig(num_blocks=100, block_size=4, token_budget=10)
    running = [rig.add([n], max_tokens=50) for n in range(4)]
    rig.step()
    long = rig.add([9] * 60, max_tokens=1)
    for _ in range(10):
        plan = dict(rig.step())
        assert all(len(plan[sequence].tokens) == 1 for sequence in running)
        assert len(plan[long].tokens) == 6
    assert long.generated == 1


def test_a_prompt_that_was_seen_is_not_computed_again() -> None:
    rig = Rig(num_blocks=20, block_size=4, token_budget=100)
    prompt = list(range(11))
    for again, computed in (([], 11), ([], 3), ([20, 21], 5)):
        sequence = rig.add(prompt + again, max_tokens=1)
        ((_, chunk),) = rig.step()
        assert len(chunk.tokens) == computed
        assert sequence.cached == len(prompt + again) - computed
    assert rig.scheduler.prompt_tokens == 11 + 11 + 13
    assert rig.scheduler.prompt_tokens_found == 8 + 8


def test_the_last_token_is_computed_even_if_the_cache_has_all_blocks() -> None:
    rig = Rig(num_blocks=20, block_size=4, token_budget=100)
    for computed in (8, 4):
        rig.add(list(range(8)), max_tokens=1)
        ((_, chunk),) = rig.step()
        assert len(chunk.tokens) == computed


def test_the_youngest_is_preempted_and_returns_first() -> None:
    rig = Rig(num_blocks=8, block_size=1, token_budget=100)
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
