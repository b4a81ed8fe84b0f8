"""Sampled tokens: greedy, with the correct distribution, and reproducible with a seed."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_server.engine.sampling import bitmask
from deepseek_server.engine.sampling.sampler import Sampler, SamplingStep
from deepseek_server.engine.types import Sampling
from tests.unit.model_server.engine.sampling.chances import chances, too_unlikely

EOS, STOP = 3, 4
SAMPLER = Sampler(frozenset({EOS}))
LOGITS = torch.tensor([2.0, 1.0, 0.5, 1.5, -1.0, -torch.inf, 0.0])
DRAWS = 20_000


def step(
    seed: int = 0,
    index: int = 0,
    tokens: tuple[int, ...] = (),
    prompt: int = 0,
    allowed: tuple[int, ...] | None = None,
    **sampling: object,
) -> SamplingStep:
    mask = None if allowed is None else packed(allowed, len(LOGITS))
    return SamplingStep(
        Sampling(max_tokens=10, **sampling), seed, index, list(tokens), prompt, mask
    )


def packed(tokens: tuple[int, ...], vocabulary: int) -> np.ndarray:
    bits = np.zeros(bitmask.words_for(vocabulary) * bitmask.WORD, dtype=np.uint8)
    bits[list(tokens)] = 1
    return np.packbits(bits, bitorder="little").view(np.int32)


def sample(*steps: SamplingStep) -> list[int]:
    return SAMPLER.sample(LOGITS.repeat(len(steps), 1), steps).tokens.tolist()


def counts_of(tokens: list[int]) -> list[int]:
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)).tolist()


def proportions_are_wrong(sampling: Sampling, expected: Sampling, by: str = "index") -> bool:
    steps = [replace(step(**{by: n}), sampling=sampling) for n in range(DRAWS)]
    return too_unlikely(counts_of(sample(*steps)), chances(LOGITS.tolist(), expected).tolist())


@pytest.mark.parametrize("by", ["index", "seed"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_in_the_right_proportions(temperature: float, by: str) -> None:
    sampling = Sampling(1, temperature=temperature)
    assert not proportions_are_wrong(sampling, sampling, by)


@pytest.mark.parametrize(
    ("temperature", "min_p", "top_k", "top_p"),
    list(itertools.product((0.7, 1.5), (0.0, 0.2), (0, 3), (1.0, 0.75))),
)
def test_filters_leave_the_proportions_of_the_rest(
    temperature: float, min_p: float, top_k: int, top_p: float
) -> None:
    sampling = Sampling(1, temperature=temperature, min_p=min_p, top_k=top_k, top_p=top_p)
    assert not proportions_are_wrong(sampling, sampling)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 1.1}, {"top_k": 5}, {"top_p": 0.95}, {"min_p": 0.1}]
)
def test_the_statistic_detects_a_wrong_distribution(wrong: dict[str, float]) -> None:
    steps = [step(index=n, **{"temperature": 1.0, **wrong}) for n in range(DRAWS)]
    counts = counts_of(sample(*steps))
    expected = chances(LOGITS.tolist(), Sampling(1))
    assert too_unlikely(counts, expected.tolist())


def test_greedy_takes_the_most_likely_token() -> None:
    assert sample(step(temperature=0.0), step(temperature=0.0, top_p=0.1, top_k=3)) == [0, 0]


@pytest.mark.parametrize(
    "extreme",
    [
        {"top_p": 1e-9},
        {"top_p": 0.0},
        {"top_k": 1},
        {"min_p": 1.0},
        {"temperature": 1e-6},
        {"temperature": 1e-60},
    ],
)
def test_extremes_are_greedy(extreme: dict[str, float]) -> None:
    assert set(sample(*(step(seed, **extreme) for seed in range(50)))) == {0}


@st.composite
def wishes(strategy: st.DrawFn) -> SamplingStep:
    """Return a strategy for any row of a batch."""
    grammar = strategy(st.booleans())
    one = st.sampled_from
    return step(
        seed=strategy(st.integers(0, 2**64 - 1)),
        index=strategy(st.integers(0, 5)),
        tokens=tuple(strategy(st.lists(st.integers(0, 6), max_size=8))),
        prompt=strategy(st.integers(0, 4)),
        allowed=(0, EOS, 6) if grammar else None,
        grammar='{"json_object": true}' if grammar else "",
        temperature=strategy(one([0.0, 0.5, 1.0, 3.0])),
        top_p=strategy(one([0.3, 0.9, 1.0])),
        top_k=strategy(one([0, 2, 4])),
        min_p=strategy(one([0.0, 0.1])),
        presence_penalty=strategy(one([0.0, 1.0])),
        frequency_penalty=strategy(one([0.0, -0.5])),
        repetition_penalty=strategy(one([1.0, 1.5])),
        logit_bias=strategy(one([(), ((1, 2.0), (5, 100.0))])),
        min_tokens=strategy(one([0, 3])),
        logprobs=strategy(one([None, 0, 3])),
    )


@settings(max_examples=40)
@given(st.lists(wishes(), min_size=2, max_size=8))
def test_the_batch_changes_nothing(steps: list[SamplingStep]) -> None:
    together = sample(*steps)
    assert together == [sample(alone)[0] for alone in steps]
    assert together == sample(*reversed(steps))[::-1]


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
HOT = list(itertools.product((0.6, 1), (0.9, 1), (0, 40, 1000)))


@pytest.mark.parametrize("device", DEVICES)
def test_the_batch_changes_nothing_with_a_real_vocabulary(device: str) -> None:
    logits = 4 * torch.randn(12, 5003, generator=torch.Generator().manual_seed(1)).to(device)
    steps = [step(n, temperature=t, top_p=p, top_k=k) for n, (t, p, k) in enumerate(HOT)]
    together = SAMPLER.sample(logits.clone(), steps).tokens.tolist()
    for row, alone in enumerate(steps):
        assert SAMPLER.sample(logits[row : row + 1].clone(), [alone]).tokens.tolist() == [
            together[row]
        ]


@pytest.mark.skipif("cuda" not in DEVICES, reason="needs a GPU: its driver tells who waits")
def test_a_gpu_is_never_waited_for() -> None:
    everything = {"min_p": 0.01, "presence_penalty": 1.0, "logit_bias": ((3, 1.0),), "logprobs": 3}
    steps = [
        step(n, temperature=t, top_p=p, top_k=k, min_tokens=3, tokens=(1, 2), **everything)
        for n, (t, p, k) in enumerate(HOT)
    ]
    grammar = replace(steps[0].sampling, grammar='{"json_object": true}')
    steps.append(replace(steps[0], sampling=grammar, mask=packed((1, EOS), 5003)))
    logits = torch.randn(len(steps), 5003, dtype=torch.bfloat16, device="cuda")
    for mode in ("default", "error"):  # the first time, kernels are compiled and loaded
        torch.cuda.set_sync_debug_mode(mode)
        try:
            SAMPLER.sample(logits.clone(), steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@settings(max_examples=40)
@given(st.lists(wishes(), min_size=1, max_size=5))
def test_parameters_serve_every_step_of_a_batch(steps: list[SamplingStep]) -> None:
    parameters = SAMPLER.parameters([d.sampling for d in steps], len(LOGITS), LOGITS.device)
    for _ in range(3):
        logits = LOGITS.repeat(len(steps), 1)
        chosen = SAMPLER.sample(logits, steps, parameters).tokens.tolist()
        assert chosen == sample(*steps)
        for wanted, token in zip(steps, chosen, strict=True):
            wanted.tokens.append(token)
        steps = [replace(wanted, index=wanted.index + 1) for wanted in steps]


@settings(max_examples=40)
@given(st.lists(wishes(), min_size=1, max_size=5))
def test_the_device_is_never_read(steps: list[SamplingStep]) -> None:
    # Tensors of the meta device have no data: any synchronization fails.
    logits = torch.empty(len(steps), len(LOGITS), dtype=torch.bfloat16, device="meta")
    chosen = SAMPLER.sample(logits, steps)
    assert chosen.tokens.device.type == "meta"
    assert chosen.tokens.shape == (len(steps),)
    with pytest.raises(NotImplementedError):
        chosen.tokens.tolist()


ONLY_END = torch.full((1, 7), -10.0)
ONLY_END[0, EOS], ONLY_END[0, STOP] = 10.0, 9.0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_end_before_min_tokens(temperature: float) -> None:
    def chosen(**options: object) -> int:
        wanted = step(temperature=temperature, min_tokens=2, **options)
        return int(SAMPLER.sample(ONLY_END.clone(), [wanted]).tokens)

    assert chosen(index=2, top_k=1) == EOS
    assert chosen(index=1) == STOP
    assert chosen(index=1, ignore_eos=True, top_k=1) == EOS
    assert chosen(index=1, stop_token_ids=(STOP,)) not in (EOS, STOP)
    assert chosen(index=1, stop_token_ids=(STOP,), ignore_eos=True) == EOS
    assert chosen(index=2, stop_token_ids=(STOP,), top_k=1) == EOS


def test_logit_bias_forbids_and_forces() -> None:
    assert sample(step(temperature=0.0, logit_bias=((0, -100.0),))) == [3]
    assert sample(step(temperature=1.0, logit_bias=((6, 100.0), (1, 3.0)))) == [6]
    assert sample(step(temperature=0.0, logit_bias=((7, 100.0), (-1, 100.0)))) == [0]


@given(
    tokens=st.lists(st.integers(0, 29), max_size=60),
    prompt=st.integers(0, 60),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    repetition=st.floats(0.5, 2),
    bias=st.dictionaries(st.integers(0, 29), st.floats(-5, 5), max_size=5),
    seed=st.integers(0, 1000),
)
def test_greedy_takes_the_greatest_logit_after_bias_and_penalties(
    tokens: list[int],
    prompt: int,
    presence: float,
    frequency: float,
    repetition: float,
    bias: dict[int, float],
    seed: int,
) -> None:
    logits = 3 * torch.randn(1, 30, generator=torch.Generator().manual_seed(seed))
    expected = logits[0].tolist()
    prompt = min(prompt, len(tokens))
    for token in range(30):
        expected[token] += bias.get(token, 0.0)
        if token in tokens:
            up = expected[token] <= 0
            expected[token] *= repetition if up else 1 / repetition
        count = tokens[prompt:].count(token)
        expected[token] -= frequency * count + presence * (count > 0)
    sampling = Sampling(
        max_tokens=1,
        temperature=0.0,
        presence_penalty=presence,
        frequency_penalty=frequency,
        repetition_penalty=repetition,
        logit_bias=tuple(bias.items()),
    )
    wanted = SamplingStep(sampling, 0, len(tokens) - prompt, tokens, prompt)
    chosen = int(SAMPLER.sample(logits, [wanted]).tokens)
    assert expected[chosen] == pytest.approx(max(expected), abs=1e-4)


def test_penalties_follow_a_sequence_as_it_grows() -> None:
    tokens, sampler = [0], Sampler(frozenset())
    sampling = Sampling(10, temperature=0.0, presence_penalty=100.0)
    answer = []
    for index in range(5):
        wanted = SamplingStep(sampling, 0, index, tokens, prompt=1)
        answer.append(int(sampler.sample(LOGITS[None].clone(), [wanted]).tokens))
        tokens.append(answer[-1])
    assert answer == [0, 3, 1, 2, 6]


def test_only_tokens_in_the_mask_are_chosen() -> None:
    grammar = {"grammar": '{"json_object": true}'}
    assert sample(step(temperature=0.0, allowed=(4, 6), **grammar)) == [6]
    drawn = sample(*(step(n, allowed=(1, 4, 6), **grammar) for n in range(DRAWS)))
    expected = [p if token in (1, 4, 6) else 0.0 for token, p in enumerate(LOGITS.exp().tolist())]
    assert not too_unlikely(counts_of(drawn), [p / sum(expected) for p in expected])


def test_min_tokens_yields_where_a_grammar_is_complete() -> None:
    grammar = {"grammar": '{"json_object": true}', "min_tokens": 5}
    assert sample(step(allowed=(EOS,), **grammar)) == [EOS]
    assert sample(*(step(n, allowed=(EOS, 4), **grammar) for n in range(50))) == [4] * 50


@pytest.mark.parametrize("mask", [None, np.zeros(2, dtype=np.int32)])
def test_a_grammar_without_its_mask_is_refused(mask: np.ndarray | None) -> None:
    wanted = replace(step(grammar='{"json_object": true}'), mask=mask)
    with pytest.raises(ValueError, match="expected a grammar mask for 7 tokens"):
        sample(wanted)


def test_log_probabilities_are_the_models_own() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(3))
    steps = [
        step(temperature=0.3, top_k=5, logprobs=2, logit_bias=((7, 50.0),)),
        step(temperature=0.0),
        step(temperature=2.0, logprobs=4, repetition_penalty=2.0, tokens=(1, 2)),
    ]
    chosen = SAMPLER.sample(logits.clone(), steps)
    assert chosen.logprobs is not None
    assert chosen.top_logprobs is not None
    assert chosen.top_tokens is not None
    assert chosen.tokens[0] == 7
    expected = torch.log_softmax(logits.double(), dim=-1)
    for row in (0, 2):
        assert float(chosen.logprobs[row]) == pytest.approx(
            float(expected[row, chosen.tokens[row]]), abs=1e-5
        )
        likeliest = expected[row].topk(4)
        assert chosen.top_tokens[row].tolist() == likeliest.indices.tolist()
        torch.testing.assert_close(
            chosen.top_logprobs[row].double(), likeliest.values, atol=1e-5, rtol=0
        )


def test_log_probabilities_are_returned_only_if_requested() -> None:
    assert SAMPLER.sample(LOGITS[None].clone(), [step()]).logprobs is None
    chosen = SAMPLER.sample(LOGITS[None].clone(), [step(temperature=0.0, logprobs=0)])
    assert chosen.logprobs is not None
    assert chosen.top_tokens is not None
    assert float(chosen.logprobs) == pytest.approx(float(torch.log_softmax(LOGITS, 0)[0]))
    assert chosen.top_tokens.shape == (1, 0)


def test_16_bit_types_are_sampled_as_float32() -> None:
    logits = torch.zeros(1, 3000, dtype=torch.bfloat16)
    steps = [step(index=n, temperature=1.0) for n in range(2000)]
    assert len(set(SAMPLER.sample(logits.repeat(2000, 1), steps).tokens.tolist())) > 1000
