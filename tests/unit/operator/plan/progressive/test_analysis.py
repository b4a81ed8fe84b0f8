"""Canary analysis: equal candidates pass, worse ones fail, insignificant differences are inconclusive."""

from __future__ import annotations

import bisect
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.api.rollout import Analysis
from deepseek_operator.plan.progressive.analysis import judge
from deepseek_operator.plan.progressive.samples import Histogram, Sample

# Of the bundled server.
FIRST = (*(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75), *(1, 2.5, 5, 10, 20, 40, 80, 160))
BETWEEN = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05),
    *(0.075, 0.1, 0.15, 0.25, 0.5, 1),
)
RULES = Analysis()
MANY = settings(deadline=None, max_examples=60)


def histogram(values: list[float], edges: tuple[float, ...]) -> Histogram:
    counts = [0.0] * (len(edges) + 1)
    for value in values:
        counts[bisect.bisect_left(edges, value)] += 1
    return Histogram((*edges, math.inf), tuple(counts), sum(values))


class Server:
    """A server that answers requests at random, reproducibly by seed.

    Args:
        first: Median time to first token in seconds; the inter-token latency is a twentieth of it.
        spread: Standard deviation of the logarithm.
    """

    def __init__(
        self,
        seed: int,
        first: float = 0.4,
        spread: float = 0.5,
        errors: float = 0.0,
        slow: float = 1.0,
    ):
        self.random = random.Random(seed)
        self.first, self.spread, self.errors, self.slow = first, spread, errors, slow

    def answer(self, number: int) -> Sample:
        first, between = [], []
        failed = 0
        for _ in range(number):
            if self.random.random() < self.errors:
                failed += 1
                continue
            first.append(self.slow * self.random.lognormvariate(math.log(self.first), self.spread))
            pace = self.random.lognormvariate(math.log(self.first / 20), 0.2)
            between += [self.slow * pace * self.random.uniform(0.8, 1.2) for _ in range(8)]
        return Sample(number, failed, histogram(first, FIRST), histogram(between, BETWEEN))


def refusing(server: Server, number: int, share: float) -> Sample:
    """Return the metrics of a server that refuses a share of its requests."""
    refused = round(number * share)
    return server.answer(number - refused) + Sample(refused=refused)


def test_candidate_that_refuses_more_requests_fails() -> None:
    stable = refusing(Server(1), 400, 0.05)
    verdict = judge(RULES, stable, refusing(Server(2), 60, 0.5))
    assert verdict.outcome == "fail"
    assert verdict.message == (
        "Refused requests (4xx): 50.0% (30 of 60) against 5.0% of the stable set; "
        "maxErrorRate allows 1.0% more."
    )
    nothing_else = judge(RULES, stable, refusing(Server(2), 60, 1.0))
    assert nothing_else.outcome == "fail", "without a single answered request"


def test_client_errors_of_both_sets_are_not_a_fault() -> None:
    stable = refusing(Server(1), 1000, 0.3)
    assert judge(RULES, stable, refusing(Server(2), 500, 0.3)).outcome == "pass"
    assert judge(RULES, stable, refusing(Server(2), 500, 0.1)).outcome == "pass"
    few = refusing(Server(2), 300, 0.33)
    assert judge(RULES, stable, few).outcome == "inconclusive", "may not be significant"
    assert judge(RULES, Sample(), refusing(Server(2), 300, 0.5)).outcome == "inconclusive"


def test_too_few_requests_are_inconclusive() -> None:
    verdict = judge(RULES, Server(1).answer(1000), Server(2).answer(57))
    assert verdict.outcome == "inconclusive"
    assert verdict.message == (
        "The new set has answered 57 of the 200 requests required for a comparison."
    )
    verdict = judge(RULES, Server(1).answer(10), Server(2).answer(500))
    assert "The stable set has answered 10 of the 200" in verdict.message


def test_equal_candidate_passes_with_figures() -> None:
    verdict = judge(RULES, Server(1).answer(2000), Server(2).answer(250))
    assert (verdict.outcome, verdict.samples) == ("pass", 250)
    assert "No worse over 250 requests" in verdict.message
    assert "Time to first token, p95: " in verdict.message


@pytest.mark.parametrize(("what", "words"), [
    ({"errors": 0.3}, "Failed requests: "),
    ({"slow": 3.0}, "Time to first token, p95: "),
])  # fmt: skip
def test_clearly_worse_candidate_fails_before_min_requests(
    what: dict[str, Any], words: str
) -> None:
    verdict = judge(RULES, Server(1).answer(1000), Server(2, **what).answer(100))
    assert verdict.outcome == "fail"
    assert verdict.message.startswith(words)


def test_slower_inter_token_latency_alone_fails() -> None:
    stable, slow = Server(1).answer(1000), Server(2, slow=2.0).answer(300)
    candidate = Sample(300, 0, Server(3).answer(300).first_token, slow.between_tokens)
    verdict = judge(RULES, stable, candidate)
    assert verdict.outcome == "fail"
    assert verdict.message.startswith("Time between tokens, p95: ")


def test_errors_of_both_sets_pass() -> None:
    verdict = judge(RULES, Server(1, errors=0.2).answer(2000), Server(2, errors=0.2).answer(300))
    assert verdict.outcome == "pass"


def test_single_error_is_inconclusive() -> None:
    good = Server(1).answer(1000)
    one = Sample(90, 1, good.first_token, good.between_tokens)
    verdict = judge(Analysis(min_requests=50), good, one)
    assert verdict.outcome == "inconclusive"
    assert "Not significant yet" in verdict.message


def test_values_on_both_sides_of_a_bucket_edge_pass() -> None:
    """0.99 s and 1.01 s lie in buckets whose percentiles look like 1 s and 2.4 s."""
    stable = Sample(500, 0, histogram([0.99] * 500, FIRST))
    candidate = Sample(500, 0, histogram([1.01] * 500, FIRST))
    assert judge(RULES, stable, candidate).outcome == "pass"


def test_slow_tail_alone_fails() -> None:
    stable = Sample(500, 0, histogram([0.3] * 500, FIRST))
    candidate = Sample(500, 0, histogram([0.3] * 440 + [3.0] * 60, FIRST))
    assert judge(RULES, stable, candidate).outcome == "fail"


def test_many_tokens_of_few_answers_are_inconclusive() -> None:
    """A thousand tokens of thirty answers count as thirty observations."""
    stable = Sample(300, 0, Histogram(), histogram([0.02] * 3000, BETWEEN))
    few = histogram([0.02] * 26_000 + [0.04] * 4_000, BETWEEN)
    assert judge(RULES, stable, Sample(30, 0, Histogram(), few)).outcome == "inconclusive"
    assert judge(RULES, stable, Sample(3000, 0, Histogram(), few)).outcome == "fail"


def test_engine_without_durations_is_judged_by_errors() -> None:
    assert judge(RULES, Sample(500), Sample(500)).outcome == "pass"
    assert judge(RULES, Sample(500), Sample(500, 100)).outcome == "fail"


def test_large_slowdown_fails_early() -> None:
    """Measured histograms: both sets have few requests, and the candidate is thirteen times slower."""
    edges = (*FIRST, math.inf)
    stable = (0, 3, 9, 16, 29, 36, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    slow = (0, 0, 0, 0, 0, 0, 2, 12, 14, 60, 9, 0, 0, 0, 0, 0, 0)
    sets = [
        Sample(sum(counts), 0, Histogram(edges, tuple(map(float, counts)), seconds))
        for counts, seconds in ((stable, 12.8), (slow, 149.0))
    ]
    assert judge(Analysis(max_ttft_ratio=3), *sets).outcome == "fail"


def test_slow_median_alone_passes() -> None:
    stable = Sample(400, 0, histogram([0.06] * 300 + [3.0] * 100, FIRST))
    candidate = Sample(400, 0, histogram([0.3] * 300 + [3.0] * 100, FIRST))
    assert judge(RULES, stable, candidate).outcome == "pass"


def test_equal_sets_rarely_fail_over_many_looks() -> None:
    """Fewer than one in a hundred comparisons fail, each evaluated sixty times."""
    failed = 0
    for seed in range(300):
        stable, candidate = Server(seed, errors=0.02), Server(seed + 10_000, errors=0.02)
        before = after = Sample()
        for _ in range(60):
            before, after = before + stable.answer(40), after + candidate.answer(10)
            if judge(RULES, before, after).outcome == "fail":
                failed += 1
                break
    assert failed < 3


@given(
    seed=st.integers(0, 10**6),
    first=st.floats(0.02, 8),
    spread=st.floats(0.05, 0.7),
    slow=st.floats(3, 20),
)
@MANY
def test_clearly_slower_candidate_fails_at_every_look(
    seed: int, first: float, spread: float, slow: float
) -> None:
    """More data never makes a clear degradation pass."""
    stable, candidate = Server(seed, first, spread), Server(seed + 1, first, spread, slow=slow)
    before, after = stable.answer(600), candidate.answer(300)
    for _ in range(4):
        assert judge(RULES, before, after).outcome == "fail"
        before, after = before + stable.answer(600), after + candidate.answer(300)


@given(seed=st.integers(0, 10**6), usual=st.floats(0, 0.02), errors=st.floats(0.15, 1))
@MANY
def test_candidate_with_clearly_more_errors_fails_at_every_look(
    seed: int, usual: float, errors: float
) -> None:
    stable, candidate = Server(seed, errors=usual), Server(seed + 1, errors=errors)
    before, after = stable.answer(600), candidate.answer(300)
    for _ in range(4):
        assert judge(RULES, before, after).outcome == "fail"
        before, after = before + stable.answer(600), after + candidate.answer(300)


@given(
    counts=st.lists(st.integers(0, 500), min_size=17, max_size=17),
    others=st.lists(st.integers(0, 500), min_size=17, max_size=17),
    errors=st.integers(0, 500),
)
@settings(deadline=None)
def test_any_counts_give_a_verdict(counts: list[int], others: list[int], errors: int) -> None:
    edges = (*FIRST, math.inf)
    sets = [
        Sample(max(sum(c), errors), errors, Histogram(edges, tuple(map(float, c)), 7.0 * sum(c)))
        for c in (counts, others)
    ]
    verdict = judge(RULES, *sets)
    assert verdict.outcome in ("pass", "fail", "inconclusive")
    assert "nan" not in verdict.message
