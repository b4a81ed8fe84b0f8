"""Chosen tokens: greedy, by chance in the right proportions, and the same ones for a seed."""

import math

import pytest
import torch

from deepseek_server.engine.interface import Sampling
from deepseek_server.engine.sampler import Draw, Sampler, uniform

EOS = 3
SAMPLER = Sampler(frozenset({EOS}))
LOGITS = torch.tensor([2.0, 1.0, 0.5, 1.5, -1.0, -torch.inf, 0.0])


def draw(seed: int = 0, index: int = 0, **sampling: object) -> Draw:
    return Draw(Sampling(max_tokens=10, **sampling), seed, index)


def sample(*draws: Draw) -> list[int]:
    return SAMPLER.sample(LOGITS.repeat(len(draws), 1), draws).tokens.tolist()


def too_unlikely(counts: list[int], probabilities: list[float]) -> bool:
    """A chi-square test at one in a million (Wilson and Hilferty's approximation)."""
    total = sum(counts)
    kept = [(n, p * total) for n, p in zip(counts, probabilities, strict=True) if p > 0]
    assert all(n == 0 for n, p in zip(counts, probabilities, strict=True) if p == 0)
    statistic = sum((n - expected) ** 2 / expected for n, expected in kept)
    degrees = len(kept) - 1
    spread = 2 / (9 * degrees)
    return ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) > 4.75


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.8), (0.7, 0.7)]
)
@pytest.mark.parametrize("by", ["index", "seed"])
def test_tokens_come_in_the_right_proportions(temperature: float, top_p: float, by: str) -> None:
    count = 50_000
    draws = [draw(**{by: n}, temperature=temperature, top_p=top_p) for n in range(count)]
    counts = torch.bincount(torch.tensor(sample(*draws)), minlength=len(LOGITS)).tolist()
    probabilities = torch.softmax(LOGITS.double() / temperature, 0).tolist()
    mass, nucleus = 0.0, [0.0] * len(LOGITS)
    for token in sorted(range(len(LOGITS)), key=lambda t: -probabilities[t]):
        if mass < top_p:
            nucleus[token] = probabilities[token]
        mass += probabilities[token]
    assert not too_unlikely(counts, [p / sum(nucleus) for p in nucleus])


def test_the_statistic_would_notice() -> None:
    draws = [draw(index=n, temperature=1.1) for n in range(50_000)]
    counts = torch.bincount(torch.tensor(sample(*draws)), minlength=len(LOGITS)).tolist()
    assert too_unlikely(counts, torch.softmax(LOGITS.double(), 0).tolist())


def test_uniform_numbers_are_uniform_along_indices_and_seeds() -> None:
    for numbers in (
        [uniform(1, index) for index in range(50_000)],
        [uniform(seed, 0) for seed in range(50_000)],
    ):
        assert all(0 <= number < 1 for number in numbers)
        counts = [0] * 100
        for number in numbers:
            counts[int(number * 100)] += 1
        assert not too_unlikely(counts, [0.01] * 100)
    assert uniform(-1, 0) == uniform(2**64 - 1, 0)  # any integer is a seed


def test_greedy_takes_the_likeliest() -> None:
    assert sample(draw(temperature=0.0), draw(temperature=0.0, top_p=0.1)) == [0, 0]


def test_extremes_are_greedy() -> None:
    for seed in range(50):
        assert sample(draw(seed, temperature=1.0, top_p=1e-9)) == [0]
        assert sample(draw(seed, temperature=1e-6)) == [0]


def test_company_changes_nothing() -> None:
    kinds = [{"temperature": t, "top_p": p} for t in (0.0, 0.5, 1.5) for p in (0.3, 0.9, 1.0)]
    draws = [draw(seed, 4, **kind) for seed in range(20) for kind in kinds]
    together = sample(*draws)
    assert together == [sample(alone)[0] for alone in draws]
    assert together == sample(*reversed(draws))[::-1]


def test_no_end_before_min_tokens() -> None:
    only_end = torch.full((1, 7), -10.0)
    only_end[0, EOS] = 10.0

    def chosen(**options: object) -> int:
        return SAMPLER.sample(only_end.clone(), [draw(**options)]).tokens.tolist()[0]

    for temperature in (0.0, 1.0):
        assert chosen(temperature=temperature, min_tokens=2, index=2) == EOS
        assert chosen(temperature=temperature, min_tokens=2, index=1) != EOS
        assert chosen(temperature=temperature, min_tokens=2, index=1, ignore_eos=True) == EOS


def test_short_types_are_sampled_as_float32() -> None:
    logits = torch.zeros(1, 3000, dtype=torch.bfloat16)
    draws = [draw(index=n, temperature=1.0) for n in range(2000)]
    assert len(set(SAMPLER.sample(logits.repeat(2000, 1), draws).tokens.tolist())) > 1000
