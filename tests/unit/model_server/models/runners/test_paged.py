"""The paged cache gives the tokens of `generate` for every family, alone and in batches."""

from dataclasses import dataclass
from itertools import cycle, pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM, DeepseekV2Config, Qwen2Config

from deepseek_server.engine.runner import Chunk
from deepseek_server.models.runners.paged import MODEL_TYPES, PagedRunner, fits
from hack.models.families import FAMILIES, VOCABULARY, configuration
from tests.unit.model_server.models.stepping import (
    generated,
    load,
    prompt,
    runner_of,
    scattered,
    step,
)

ANSWER = 20
LENGTHS = (1, 7, 16, 33, 150)
PAGED = [family for family in FAMILIES if configuration(family).model_type in MODEL_TYPES]


@dataclass
class Pair:
    """A model in two forms: its answers by `generate`, and a runner on a paged cache."""

    runner: PagedRunner
    answers: list[list[int]]
    logits: torch.Tensor


@pytest.fixture(scope="module", params=PAGED)
def pair(request, tiny) -> Pair:
    model = load(tiny(request.param))
    answers = [generated(model, prompt(length), ANSWER) for length in LENGTHS]
    with torch.inference_mode():
        logits = model(torch.tensor([prompt(LENGTHS[-1])])).logits[0]
    return Pair(runner_of(model), answers, logits)


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


def test_logits_are_those_of_the_model(pair: Pair) -> None:
    (sequence,) = scattered(pair.runner, [prompt(LENGTHS[-1])], 0)
    for start, end in pairwise((0, 1, 2, 15, 16, 17, 48, 49, 100, 149, 150)):
        chunk = Chunk(tuple(sequence.tokens[start:end]), start, sequence.blocks, sample=True)
        logits = pair.runner.run([chunk])[0]
        torch.testing.assert_close(logits, pair.logits[end - 1], atol=2e-4, rtol=0)


def test_stale_tokens_in_a_reused_block_are_not_attended_to(pair: Pair) -> None:
    shortest = LENGTHS.index(1)
    old, new = scattered(pair.runner, [prompt(150), prompt(1)], ANSWER)
    new.blocks = old.blocks
    step(pair.runner, [(old, old.chunk(1000))])
    while len(new.answer) < ANSWER:
        step(pair.runner, [(new, new.chunk(1000))])
    assert new.answer == pair.answers[shortest]


def test_cached_blocks_serve_a_second_sequence(pair: Pair) -> None:
    first, second = scattered(pair.runner, [prompt(150), prompt(150)], ANSWER)
    step(pair.runner, [(first, first.chunk(1000))])
    shared = 128 // pair.runner.block_size
    second.blocks, second.computed = first.blocks[:shared] + second.blocks[shared:], 128
    while len(second.answer) < ANSWER:
        step(pair.runner, [(second, second.chunk(1000))])
    assert second.answer == pair.answers[LENGTHS.index(150)]


def test_a_step_without_samples_has_no_logits(pair: Pair) -> None:
    (sequence,) = scattered(pair.runner, [prompt(33)], 0)
    assert pair.runner.run([sequence.chunk(5)]).shape == (0, VOCABULARY)


def test_latent_attention_without_low_rank_queries() -> None:
    """The Lite models have no q_lora_rank."""
    torch.manual_seed(0)
    config = DeepseekV2Config.from_dict(
        configuration("deepseek-v2").to_dict() | {"q_lora_rank": None}
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    expected = generated(model, prompt(33), ANSWER)
    runner = runner_of(model)
    (sequence,) = scattered(runner, [prompt(33)], ANSWER)
    while len(sequence.answer) < ANSWER:
        step(runner, [(sequence, sequence.chunk(10))])
    assert sequence.answer == expected


def test_sliding_window_attention_is_not_supported() -> None:
    plain = Qwen2Config.from_dict(configuration("qwen2").to_dict())
    sliding = Qwen2Config.from_dict(
        configuration("qwen2").to_dict()
        | {
            "use_sliding_window": True,
            "sliding_window": 8,
            "max_window_layers": 1,
            "layer_types": None,
        }
    )
    with torch.device("meta"):
        assert fits(AutoModelForCausalLM.from_config(plain))
        assert not fits(AutoModelForCausalLM.from_config(sliding))
