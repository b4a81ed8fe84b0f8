"""Batched V4 gives the tokens of `generate`, in mixed batches and with chunked prefill."""

from itertools import cycle, pairwise

import pytest
import torch
from transformers import PreTrainedModel

from deepseek_server.attention.base import CacheSize
from deepseek_server.attention.compressed.attention import CompressedAttention
from deepseek_server.attention.sparse import selection
from deepseek_server.engine.core import Core
from deepseek_server.engine.ipc import Token
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.scheduler import StepLimits
from deepseek_server.engine.types import Request, Sampling
from deepseek_server.errors import PermanentError
from deepseek_server.models.layers import compressed
from deepseek_server.models.runners import compressed as compressed_runner
from deepseek_server.models.runners.compressed import CompressedRunner, footprint
from hack.models.families import VOCABULARY, configuration
from tests.unit.model_server.models.stepping import (
    decoded_on_device,
    generated,
    load,
    prompt,
    scattered,
    step,
)

ANSWER = 20
# Below and above the window of 20 tokens, the first entries of 4 and of 14, and the 24 tokens up to
# which the indexer selects all.
LENGTHS = (1, 7, 13, 16, 19, 25, 33, 150)


@pytest.fixture(scope="module")
def answers(tiny) -> list[list[int]]:
    model = load(tiny("deepseek-v4"))
    return [generated(model, prompt(length), ANSWER) for length in LENGTHS]


@pytest.fixture
def model(tiny) -> PreTrainedModel:
    return load(tiny("deepseek-v4"))


def runner_of(model: PreTrainedModel, blocks: int = 64) -> CompressedRunner:
    shape = compressed.shape_of(model.config)
    compressed.absorb(model)
    size = CacheSize(len(shape.kinds), blocks, shape.stretch)
    attention = CompressedAttention(shape, size, 8, model.dtype, model.device)
    return CompressedRunner(model, attention, 8)


def test_alone(model: PreTrainedModel, answers: list[list[int]]) -> None:
    runner = runner_of(model)
    for length, answer in zip(LENGTHS, answers, strict=True):
        (sequence,) = scattered(runner, [prompt(length)], ANSWER)
        while len(sequence.answer) < ANSWER:
            step(runner, [(sequence, sequence.chunk(1000))])
        assert sequence.answer == answer


@pytest.mark.parametrize("tile_bytes", [2**26, 30_000, 1])
@pytest.mark.parametrize("sizes", [(1, 5, 13), (3, 29, 64, 2)])
def test_mixed_batches_with_odd_chunk_sizes(
    sizes: tuple[int, ...],
    tile_bytes: int,
    model: PreTrainedModel,
    answers: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefill and decode mixed, in rotating order, and not every sequence in every step."""
    monkeypatch.setitem(selection.TILE_BYTES, "cpu", tile_bytes)
    runner = runner_of(model)
    sequences = scattered(runner, [prompt(length) for length in LENGTHS], ANSWER)
    size, resting = cycle(sizes), 0
    while unfinished := [s for s in sequences if len(s.answer) < ANSWER]:
        resting += 1
        turned = unfinished[resting % len(unfinished) :] + unfinished[: resting % len(unfinished)]
        step(runner, [(s, s.chunk(next(size))) for s in turned[: max(1, len(turned) - 1)]])
    assert [s.answer for s in sequences] == answers


def test_logits_are_those_of_the_model_wherever_a_prompt_is_cut(tiny, model) -> None:
    with torch.inference_mode():
        expected = load(tiny("deepseek-v4"))(torch.tensor([prompt(150)])).logits[0]
    runner = runner_of(model)
    (sequence,) = scattered(runner, [prompt(150)], 0)
    for start, end in pairwise((0, 1, 2, 13, 14, 15, 48, 49, 100, 149, 150)):
        chunk = Chunk(tuple(sequence.tokens[start:end]), start, sequence.blocks, sample=True)
        torch.testing.assert_close(runner.run([chunk])[0], expected[end - 1], atol=2e-4, rtol=0)


def test_half_precision_is_as_accurate_as_transformers(tiny, model) -> None:
    with torch.inference_mode():
        exact = model(torch.tensor([prompt(150)])).logits[0]
        half = type(model).from_pretrained(tiny("deepseek-v4"), dtype=torch.bfloat16).eval()
        theirs = half(torch.tensor([prompt(150)])).logits[0].float()
    runner = runner_of(half)
    (sequence,) = scattered(runner, [prompt(150)], 0)
    for start, end in ((0, 64), (64, 149), (149, 150)):
        chunk = Chunk(tuple(sequence.tokens[start:end]), start, sequence.blocks, sample=True)
        mine = runner.run([chunk])[0].float()
        error, allowed = ((part - exact[end - 1]).norm() for part in (mine, theirs[end - 1]))
        assert error < 2 * allowed


def test_a_preempted_sequence_restarts(model: PreTrainedModel, answers: list[list[int]]) -> None:
    """Another sequence takes its request index and blocks, and it returns with its answer so far."""
    runner = runner_of(model)
    victim, other = scattered(runner, [prompt(150), prompt(33)], ANSWER)
    other.blocks, other.request_index = victim.blocks, victim.request_index
    while len(victim.answer) < ANSWER // 2:
        step(runner, [(victim, victim.chunk(64))])
    while len(other.answer) < ANSWER:
        step(runner, [(other, other.chunk(64))])
    victim.computed = 0
    while len(victim.answer) < ANSWER:
        step(runner, [(victim, victim.chunk(64))])
    assert [victim.answer, other.answer] == [answers[-1], answers[-2]]


def test_through_the_engine_with_too_little_room_for_all(tiny, model: PreTrainedModel) -> None:
    """Answers need several blocks, more than the one that the scheduler reserves for each."""
    plain, long, lengths = load(tiny("deepseek-v4")), 60, (7, 13, 25)
    runner = runner_of(model, blocks=6)
    core = Core(
        runner, frozenset(), StepLimits(max_num_batched_tokens=20, prefill_share=8, max_num_seqs=3)
    )
    for length in lengths:
        sampling = Sampling(max_tokens=long, temperature=0)
        core.add(Request(str(length), tuple(prompt(length)), sampling))
    found: dict[str, list[int]] = {str(length): [] for length in lengths}
    while not core.idle:
        for result in core.step():
            assert isinstance(result, Token)
            found[result.request].append(result.token)
    assert list(found.values()) == [generated(plain, prompt(length), long) for length in lengths]
    assert core.totals.preemptions > 0


def test_a_prompt_with_the_same_prefix_is_computed_again(
    model: PreTrainedModel, answers: list[list[int]]
) -> None:
    """The ring buffer of the first one is overwritten."""
    runner = runner_of(model)
    core = Core(
        runner, frozenset(), StepLimits(max_num_batched_tokens=64, prefill_share=64, max_num_seqs=4)
    )
    for name in ("first", "second"):
        core.add(Request(name, tuple(prompt(150)), Sampling(max_tokens=ANSWER, temperature=0)))
        found: list[int] = []
        while not core.idle:
            for result in core.step():
                assert isinstance(result, Token)
                assert result.cached_tokens == 0
                found.append(result.token)
        assert found == answers[-1]


def test_a_token_that_only_the_device_knows(
    model: PreTrainedModel, answers: list[list[int]]
) -> None:
    """The token also determines its experts."""
    runner = runner_of(model)
    sequences = scattered(runner, [prompt(length) for length in LENGTHS[-2:]], ANSWER)
    assert decoded_on_device(runner, sequences, ANSWER) == answers[-2:]


def test_a_step_without_samples_has_no_logits(model: PreTrainedModel) -> None:
    runner = runner_of(model)
    (sequence,) = scattered(runner, [prompt(33)], 0)
    assert runner.run([sequence.chunk(5)]).shape == (0, VOCABULARY)


def test_every_request_has_a_ring_buffer_and_blocks_get_the_remaining_memory(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed_runner, "memory_available", lambda: 2**24)
    kept = footprint(model)
    runner = compressed_runner.compressed_runner(
        model, context=4096, max_num_batched_tokens=256, max_num_seqs=9
    )
    attention = runner._attention
    assert isinstance(attention, CompressedAttention)
    block = compressed.shape_of(model.config).of_tokens(runner.block_size) * 4
    assert 2**23 - block < attention.cached_bytes <= 2**23
    assert attention.cached_bytes == 9 * kept.per_sequence + (runner.num_blocks + 1) * block


def test_refuses_too_little_memory(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed_runner, "memory_available", lambda: 2**10)
    message = r"no memory is left for the KV cache .* 9 requests need"
    with pytest.raises(PermanentError, match=message):
        compressed_runner.compressed_runner(
            model, context=4096, max_num_batched_tokens=256, max_num_seqs=9
        )


def test_blocks_hold_whole_entries() -> None:
    shape = compressed.shape_of(configuration("deepseek-v4"))
    assert shape.stretch == 28
    assert all(shape.stretch % rate == 0 for rate in shape.rates.values())
