"""The sequential runner gives the tokens of `generate`, in batches and chunks, within bounds."""

from dataclasses import dataclass
from itertools import cycle, pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from deepseek_server.engine.core import Core
from deepseek_server.engine.ipc import Token
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.scheduler import StepSize
from deepseek_server.engine.types import Request, Sampling
from deepseek_server.errors import PermanentError
from deepseek_server.models.footprint import Footprint, measure_cache
from deepseek_server.models.runners import sequential as whole
from deepseek_server.models.runners.paged import fits
from deepseek_server.models.runners.sequence_cache import SequenceCache
from deepseek_server.models.runners.sequential import WholeRunner, cache_blocks, whole_runner
from hack.models.families import VOCABULARY, configuration
from tests.unit.model_server.models.stepping import (
    Running,
    generated,
    load,
    prompt,
    scattered,
    step,
)

ANSWER = 20
LENGTHS = (1, 7, 16, 33, 150)
FAMILIES = ("deepseek-v32", "deepseek-v4")


@dataclass
class Pair:
    """A model in two forms: its answers by `generate`, and a runner with a cache per sequence."""

    model: PreTrainedModel
    runner: WholeRunner
    answers: list[list[int]]


def pair_of(model: PreTrainedModel) -> Pair:
    answers = [generated(model, prompt(length), ANSWER) for length in LENGTHS]
    return Pair(model, WholeRunner(model, num_blocks=64, block_size=16), answers)


def sliding_qwen2() -> PreTrainedModel:
    """Return a model of a paged family in a form that the paged cache does not support."""
    config = Qwen2Config.from_dict(
        configuration("qwen2").to_dict()
        | {
            "use_sliding_window": True,
            "sliding_window": 20,
            "max_window_layers": 1,
            "layer_types": None,
        }
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    assert not fits(model)
    return model


@pytest.fixture(scope="module", params=[*FAMILIES, "sliding-qwen2"])
def pair(request, tiny) -> Pair:
    if request.param in FAMILIES:
        return pair_of(load(tiny(request.param)))
    return pair_of(sliding_qwen2())


@pytest.mark.parametrize("index", range(len(LENGTHS)))
def test_alone(pair: Pair, index: int) -> None:
    (sequence,) = scattered(pair.runner, [prompt(LENGTHS[index])], ANSWER)
    while len(sequence.answer) < ANSWER:
        step(pair.runner, [(sequence, sequence.chunk(1000))])
    assert sequence.answer == pair.answers[index]


@pytest.mark.parametrize("sizes", [(1, 5, 13), (3, 29, 64, 2)])
def test_mixed_batches_with_odd_chunk_sizes(pair: Pair, sizes: tuple[int, ...]) -> None:
    """Prefill and decode mixed, in rotating order, and not every sequence in every step."""
    sequences = scattered(pair.runner, [prompt(length) for length in LENGTHS], ANSWER)
    size, resting = cycle(sizes), 0
    while unfinished := [s for s in sequences if len(s.answer) < ANSWER]:
        resting += 1
        turned = unfinished[resting % len(unfinished) :] + unfinished[: resting % len(unfinished)]
        step(pair.runner, [(s, s.chunk(next(size))) for s in turned[: max(1, len(turned) - 1)]])
    assert [s.answer for s in sequences] == pair.answers


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_model_wherever_a_prompt_is_cut(family: str, tiny) -> None:
    model = load(tiny(family))
    runner = WholeRunner(model, num_blocks=64, block_size=16)
    (sequence,) = scattered(runner, [prompt(150)], 0)
    with torch.inference_mode():
        expected = model(torch.tensor([sequence.tokens])).logits[0]
    for start, end in pairwise((0, 1, 2, 15, 16, 17, 48, 49, 100, 149, 150)):
        chunk = Chunk(tuple(sequence.tokens[start:end]), start, sequence.blocks, sample=True)
        torch.testing.assert_close(runner.run([chunk])[0], expected[end - 1], atol=2e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_indexers_selection_changes_the_logits(family: str, tiny) -> None:
    """Otherwise the tests above would pass without the indexer."""
    model = load(tiny(family))
    chosen = generated(model, prompt(150), ANSWER)
    for module in model.modules():
        if hasattr(module, "index_topk"):
            module.index_topk = 1000
    assert generated(model, prompt(150), ANSWER) != chosen


def test_a_preempted_sequence_restarts(pair: Pair) -> None:
    """Another sequence takes its blocks, and it returns with its answer so far."""
    victim, other = scattered(pair.runner, [prompt(150), prompt(33)], ANSWER)
    other.blocks = victim.blocks
    while len(victim.answer) < ANSWER // 2:
        step(pair.runner, [(victim, victim.chunk(64))])
    while len(other.answer) < ANSWER:
        step(pair.runner, [(other, other.chunk(64))])
    victim.computed = 0
    while len(victim.answer) < ANSWER:
        step(pair.runner, [(victim, victim.chunk(64))])
    assert [victim.answer, other.answer] == [pair.answers[4], pair.answers[3]]


def test_through_the_engine_with_too_little_room_for_all(pair: Pair) -> None:
    short = LENGTHS[:4]
    runner = WholeRunner(pair.model, num_blocks=20, block_size=4)
    core = Core(runner, frozenset(), StepSize(tokens=20, prompt_share=8, sequences=4))
    for length in short:
        sampling = Sampling(max_tokens=ANSWER, temperature=0)
        core.add(Request(str(length), tuple(prompt(length)), sampling))
    answers: dict[str, list[int]] = {str(length): [] for length in short}
    while not core.idle:
        for result in core.step():
            assert isinstance(result, Token)
            answers[result.request].append(result.token)
    assert list(answers.values()) == pair.answers[:4]
    assert core.totals.preemptions > 0


def test_a_token_that_only_the_device_knows(pair: Pair) -> None:
    first, second = scattered(pair.runner, [prompt(7), prompt(16)], ANSWER)
    logits = pair.runner.run([first.chunk(100), second.chunk(100)])
    answers = [[token] for token in logits.argmax(-1).tolist()]
    while len(answers[0]) < ANSWER:
        pair.runner.follow(logits.argmax(-1))
        logits = pair.runner.run(
            [
                Chunk(None, s.prompt + len(a) - 1, s.blocks, sample=True, slot=s.slot)
                for s, a in ((first, answers[0]), (second, answers[1]))
            ]
        )
        for answer, token in zip(answers, logits.argmax(-1).tolist(), strict=True):
            answer.append(token)
    assert answers == pair.answers[1:3]


def test_a_step_without_samples_has_no_logits(pair: Pair) -> None:
    (sequence,) = scattered(pair.runner, [prompt(33)], 0)
    assert pair.runner.run([sequence.chunk(5)]).shape == (0, VOCABULARY)


def test_prefixes_are_not_shared() -> None:
    assert not WholeRunner.shares_prefixes


@pytest.fixture
def runner(tiny) -> WholeRunner:
    return WholeRunner(load(tiny("deepseek-v4")), num_blocks=8, block_size=16)


def held(runner: WholeRunner) -> list[SequenceCache]:
    """Return the live caches."""
    claims = {id(c): c for c in (*runner._by_slot.values(), *runner._by_block.values())}
    return [claim.cache for claim in claims.values() if claim.cache is not None]


def test_caches_never_hold_more_tokens_than_the_blocks(runner: WholeRunner) -> None:
    """Sequences start and end without a notification of the runner."""
    draw = torch.Generator().manual_seed(3)
    for number in range(20):
        length = int(torch.randint(1, 100, (1,), generator=draw))
        blocks = torch.randperm(8, generator=draw)[: -(-length // 16)].tolist()
        sequence = Running(tuple(blocks), prompt(length), slot=number % 3)
        step(runner, [(sequence, sequence.chunk(1000))])
        assert sum(cache.length for cache in held(runner)) <= 8 * 16
        assert len(held(runner)) <= 3


def test_a_sequence_with_a_dropped_cache_cannot_continue(runner: WholeRunner) -> None:
    loser, winner = Running((1, 2), prompt(20), slot=0), Running((2, 3), prompt(20), slot=1)
    step(runner, [(loser, loser.chunk(100))])
    step(runner, [(winner, winner.chunk(100))])
    with pytest.raises(RuntimeError, match="the cache of the 20 tokens before a chunk is gone"):
        step(runner, [(loser, loser.chunk(100))])


@pytest.mark.parametrize("family", FAMILIES)
def test_cache_bytes_are_predicted(family: str, tiny) -> None:
    model = load(tiny(family))
    footprint = measure_cache(model)
    assert footprint.per_token > 0
    for lengths in ((500,), (100, 1, 1, 1, 299), (400, *[1] * 30)):
        cache = SequenceCache(model)
        for length in lengths:
            cache.extend(torch.tensor(prompt(length)))
        foreseen = footprint.of(sum(lengths))
        assert 0.7 * foreseen < cache.nbytes <= foreseen


def test_v32_caches_only_latents_and_index_keys(tiny) -> None:
    footprint = measure_cache(load(tiny("deepseek-v32")))
    config = configuration("deepseek-v32")
    values = config.kv_lora_rank + config.qk_rope_head_dim + config.index_head_dim
    assert footprint == Footprint(0, config.num_hidden_layers * values * 4)


def test_a_window_does_not_keep_the_whole_prompt_in_memory(tiny) -> None:
    """A window starts as a view of a larger tensor."""
    model = load(tiny("deepseek-v4"))
    at_once, in_pieces = SequenceCache(model), SequenceCache(model)
    at_once.extend(torch.tensor(prompt(300)))
    for _ in range(12):
        in_pieces.extend(torch.tensor(prompt(25)))
    assert at_once.nbytes == in_pieces.nbytes


def test_every_sequence_has_a_fixed_memory_share() -> None:
    footprint = Footprint(per_sequence=1000, per_token=10)
    assert cache_blocks(footprint, 20_000, sequences=4) == 16_000 // (10 * whole.BLOCK_SIZE)
    assert cache_blocks(footprint, 3_999, sequences=4) == 0
    windows_only = Footprint(per_sequence=1000, per_token=0)
    assert cache_blocks(windows_only, 20_000, sequences=4) > 0
    assert cache_blocks(windows_only, 3_999, sequences=4) == 0


def test_the_cache_gets_its_share_of_the_memory(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "memory_available", lambda: 2**24)
    model = load(tiny("deepseek-v4"))
    footprint = measure_cache(model)
    runner = whole_runner(model, context=4096, step_tokens=256, sequences=9)
    room = 2**23 - 9 * footprint.per_sequence
    assert runner.num_blocks == room // (footprint.per_token * runner.block_size)


def test_refuses_too_little_memory(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "memory_available", lambda: 2**10)
    with pytest.raises(
        PermanentError, match=r"no memory is left for the KV cache .* lower maxContext"
    ):
        whole_runner(load(tiny("deepseek-v4")), context=4096, step_tokens=256, sequences=9)
