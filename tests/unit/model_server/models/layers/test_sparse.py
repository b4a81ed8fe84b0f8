"""V3.2 on the paged cache gives the tokens of `generate`: fused, in small tiles, in the engine.

test_paged.py tests what all families on the paged cache have in common.
"""

from itertools import cycle

import pytest
import torch
from transformers import PreTrainedModel

from deepseek_server.attention.sparse import selection
from deepseek_server.engine.core import Core
from deepseek_server.engine.ipc import Token
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.scheduler import StepLimits
from deepseek_server.engine.types import Request, Sampling
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.runners.paged import PagedRunner
from tests.unit.model_server.models.stepping import (
    decoded_on_device,
    generated,
    load,
    prompt,
    runner_of,
    scattered,
    step,
)

ANSWER = 20
# Around the 12 tokens that the tiny indexer selects, and far beyond them.
LENGTHS = (3, 11, 12, 13, 40, 150)


@pytest.fixture(scope="module")
def answers(tiny) -> list[list[int]]:
    model = load(tiny("deepseek-v32"))
    return [generated(model, prompt(length), ANSWER) for length in LENGTHS]


@pytest.fixture
def model(tiny) -> PreTrainedModel:
    return load(tiny("deepseek-v32"))


def fused(model: PreTrainedModel) -> PagedRunner:
    """Return a runner as in a server, with the small blocks of a CPU."""
    return paged_runner(model, context=512, max_num_batched_tokens=256, max_num_seqs=8)


def together(runner: PagedRunner, sizes: tuple[int, ...]) -> list[list[int]]:
    """Return the answers to all prompts at once, with chunks of these sizes in turn."""
    sequences = scattered(runner, [prompt(length) for length in LENGTHS], ANSWER)
    size = cycle(sizes)
    while unfinished := [s for s in sequences if len(s.answer) < ANSWER]:
        step(runner, [(s, s.chunk(next(size))) for s in unfinished])
    return [s.answer for s in sequences]


@pytest.mark.parametrize("make", [runner_of, fused])
def test_requests_together_in_chunks_have_the_same_answers(
    make, model: PreTrainedModel, answers: list[list[int]]
) -> None:
    assert together(make(model), (5, 64, 1, 17)) == answers


@pytest.mark.parametrize("tile_bytes", [1, 30_000])
def test_in_small_tiles(
    tile_bytes: int,
    model: PreTrainedModel,
    answers: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(selection.TILE_BYTES, "cpu", tile_bytes)
    assert together(runner_of(model), (100, 7)) == answers


def results(core: Core) -> dict[str, list[Token]]:
    found: dict[str, list[Token]] = {}
    while not core.idle:
        for result in core.step():
            assert isinstance(result, Token)
            found.setdefault(result.request, []).append(result)
    return found


def test_through_the_engine_with_too_little_room_for_all(
    model: PreTrainedModel, answers: list[list[int]]
) -> None:
    runner = runner_of(model, blocks=20, block_size=4)
    core = Core(
        runner, frozenset(), StepLimits(max_num_batched_tokens=20, prefill_share=8, max_num_seqs=5)
    )
    for length in LENGTHS[:5]:
        sampling = Sampling(max_tokens=ANSWER, temperature=0)
        core.add(Request(str(length), tuple(prompt(length)), sampling))
    found = results(core)
    tokens = {name: [result.token for result in tokens] for name, tokens in found.items()}
    assert [tokens[str(length)] for length in LENGTHS[:5]] == answers[:5]
    assert core.totals.preemptions > 0


def test_a_prefix_in_the_cache_is_not_computed_again(
    model: PreTrainedModel, answers: list[list[int]]
) -> None:
    """Two prompts with the same prefix, concurrently and one after the other."""
    runner = runner_of(model, blocks=64, block_size=16)
    core = Core(
        runner, frozenset(), StepLimits(max_num_batched_tokens=64, prefill_share=64, max_num_seqs=4)
    )
    longer = (*prompt(150), *answers[-1][:10])
    for name, tokens in (("first", tuple(prompt(150))), ("second", longer)):
        core.add(Request(name, tokens, Sampling(max_tokens=10, temperature=0)))
    first = results(core)
    core.add(Request("third", longer, Sampling(max_tokens=10, temperature=0)))
    found = first | results(core)
    assert [result.token for result in found["first"]] == answers[-1][:10]
    for name in ("second", "third"):
        assert [result.token for result in found[name]] == answers[-1][10:]
        assert found[name][0].cached_tokens >= 144


def test_a_token_that_only_the_device_knows(
    model: PreTrainedModel, answers: list[list[int]]
) -> None:
    runner = runner_of(model)
    sequences = scattered(runner, [prompt(length) for length in LENGTHS[-2:]], ANSWER)
    assert decoded_on_device(runner, sequences, ANSWER) == answers[-2:]


def test_half_precision_is_as_accurate_as_transformers(tiny, model) -> None:
    """Compare errors against float32 logits: bfloat16 in chunks, and transformers' bfloat16."""
    with torch.inference_mode():
        exact = model(torch.tensor([prompt(150)])).logits[0]
        half = load(tiny("deepseek-v32")).to(torch.bfloat16)
        theirs = half(torch.tensor([prompt(150)])).logits[0].float()
    runner = runner_of(half)
    (sequence,) = scattered(runner, [prompt(150)], 0)
    for start, end in ((0, 64), (64, 149), (149, 150)):
        chunk = Chunk(tuple(sequence.tokens[start:end]), start, sequence.blocks, sample=True)
        mine = runner.run([chunk])[0].float()
        error, allowed = ((part - exact[end - 1]).norm() for part in (mine, theirs[end - 1]))
        assert error < 2 * allowed
