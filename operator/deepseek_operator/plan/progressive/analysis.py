"""Canary analysis: statistical comparison of the metrics of candidate and stable set.

A difference counts only if it is statistically significant. Every test is one-sided at level `SIGNIFICANCE`,
which is low because a rollout repeats the test many times, and a candidate that is as good as the
stable set must not be rolled back at the hundredth repetition.

- errors: more than `maxErrorRate` allows (binomial test) and more than the stable set has (Fisher's
  exact test): failures that both sets have are not the candidate's fault.
- refusals: more than the stable set has, by the same test. Client errors reach both sets alike, so
  requests that only the candidate refuses are requests that it no longer understands.
- 95th percentiles of the time to first token and of the inter-token latency: the candidate's is above
  the allowed multiple of the stable set's, and so is the lower confidence bound of one of its percentiles
  relative to the upper bound of the stable set's same percentile. Bounds are by order statistics, which
  assume nothing about the distribution. Bounds of the 95th percentile exist from 182 requests on; below
  that, or if the difference is large, a lower percentile shows that it is significant.

A histogram gives only the bucket of a duration: 0.99 s and 1.01 s may look like 1 s and 2.4 s. So a
percentile counts as worse if it is worse for any position within the buckets, or if the averages, which
are exact, are worse too. The tokens of one answer are correlated, so they count as one observation.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from deepseek_operator.api.rollout import Analysis
from deepseek_operator.plan.progressive.samples import Histogram, Sample

Outcome = Literal["pass", "fail", "inconclusive"]

# Significance level of one test, and the same in standard deviations of a normal distribution.
SIGNIFICANCE, DEVIATIONS = 0.001, 3.09
QUANTILE = 0.95
# Percentiles whose bounds may show that a difference is significant.
QUANTILES = (0.95, 0.9, 0.75, 0.5)
# Fewer requests are never significant.
MIN_REQUESTS = 20


@dataclass(frozen=True)
class Verdict:
    """The result of the comparison.

    Attributes:
        message: The reason, with the figures.
        samples: Number of the candidate's requests that it is based on.
    """

    outcome: Outcome
    message: str
    samples: int = 0


def judge(rules: Analysis, stable: Sample, candidate: Sample) -> Verdict:
    """Compare the metrics of both sets over the same time."""
    number = int(candidate.requests)
    findings = [
        _errors(rules, stable, candidate),
        _refusals(rules, stable, candidate),
        _slower("Time to first token", "maxTTFTRatio", rules.max_ttft_ratio,
                stable.first_token, candidate.first_token, stable, candidate),
        _slower("Time between tokens", "maxITLRatio", rules.max_itl_ratio,
                stable.between_tokens, candidate.between_tokens, stable, candidate),
    ]  # fmt: skip
    if candidate.completed >= min(MIN_REQUESTS, rules.min_requests):
        for outcome, message in findings:
            if outcome == "fail":
                return Verdict("fail", message, number)
    for name, counted in (("new", candidate), ("stable", stable)):
        if counted.requests < rules.min_requests:
            return Verdict(
                "inconclusive",
                f"The {name} set has answered {counted.requests:.0f} of the {rules.min_requests} "
                "requests required for a comparison.",
                number,
            )
    for outcome, message in findings:
        if outcome == "inconclusive":
            return Verdict(
                outcome, f"{message} Not significant yet: more requests are needed.", number
            )
    compared = "; ".join(message for _, message in findings if message)
    return Verdict("pass", f"No worse over {number} requests. {compared}", number)


Finding = tuple[Outcome, str]


def _errors(rules: Analysis, stable: Sample, candidate: Sample) -> Finding:
    if not candidate.requests:
        return "pass", ""
    rate = candidate.errors / candidate.requests
    usual = stable.errors / stable.requests if stable.requests else 0.0
    message = (
        f"Failed requests: {rate:.1%} ({candidate.errors:.0f} of {candidate.requests:.0f}) against "
        f"{usual:.1%} of the stable set; maxErrorRate is {rules.max_error_rate:.1%}."
    )
    if rate <= max(rules.max_error_rate, usual):
        return "pass", message
    significant = (
        _at_least(candidate.errors, candidate.requests, rules.max_error_rate) < SIGNIFICANCE
        and _fisher(candidate.errors, candidate.requests, stable.errors, stable.requests)
        < SIGNIFICANCE
    )
    return ("fail" if significant else "inconclusive"), message


def _refusals(rules: Analysis, stable: Sample, candidate: Sample) -> Finding:
    """Compare refused requests; no message unless the candidate refuses more."""
    if not candidate.refused or not stable.completed:
        return "pass", ""
    rate, usual = candidate.refused / candidate.completed, stable.refused / stable.completed
    if rate <= usual + rules.max_error_rate:
        return "pass", ""
    message = (
        f"Refused requests (4xx): {rate:.1%} ({candidate.refused:.0f} of {candidate.completed:.0f}) "
        f"against {usual:.1%} of the stable set; maxErrorRate allows {rules.max_error_rate:.1%} more."
    )
    chance = _fisher(candidate.refused, candidate.completed, stable.refused, stable.completed)
    return ("fail" if chance < SIGNIFICANCE else "inconclusive"), message


def _slower(
    what: str,
    field: str,
    limit: float,
    stable: Histogram,
    candidate: Histogram,
    stable_set: Sample,
    candidate_set: Sample,
) -> Finding:
    """Test whether the 95th percentile exceeds `limit` times that of the stable set."""
    # Durations within one request are correlated, so there are only as many observations as requests.
    ours = min(candidate.count, candidate_set.requests)
    theirs = min(stable.count, stable_set.requests)
    if ours < MIN_REQUESTS or theirs < MIN_REQUESTS:
        return "pass", ""  # for example answers of a single token
    (_, mine, _), (_, usual, _) = (_at(h, QUANTILE * h.count) for h in (candidate, stable))
    message = (
        f"{what}, p95: {_duration(mine)} against {_duration(usual)} of the stable set, ratio "
        f"{mine / usual if usual else math.inf:.2g}; {field} is {limit:g}."
    )
    average, surely = _averages(stable, candidate, theirs, ours)
    worse, certain = mine > limit * usual, False
    for quantile in QUANTILES:
        low, least, _ = _bound(candidate, quantile, ours, -1)
        _, most, high = _bound(stable, quantile, theirs, +1)
        # For any position within the buckets; or as interpolated, if the averages confirm it.
        certain |= low > limit * high or (least > limit * most and surely > limit)
    if worse and certain:
        return "fail", message
    return ("inconclusive" if worse and average > limit else "pass"), message


def _bound(
    histogram: Histogram, quantile: float, number: float, side: int
) -> tuple[float, float, float]:
    """Return the confidence bound of a percentile, with the edges of its bucket."""
    share = quantile + side * DEVIATIONS * math.sqrt(quantile * (1 - quantile) / number)
    if share >= 1:
        return math.inf, math.inf, math.inf
    return _at(histogram, max(0.0, share) * histogram.count)


def _at(histogram: Histogram, rank: float) -> tuple[float, float, float]:
    """Return lower edge, interpolated value and upper edge of the bucket at a rank."""
    lower = below = 0.0
    for edge, upto in zip(histogram.edges, accumulate(histogram.counts), strict=True):
        if upto >= rank and upto > below:
            part = (rank - below) / (upto - below)
            value = lower if math.isinf(edge) else lower + part * (edge - lower)
            return lower, value, edge
        lower, below = (lower if math.isinf(edge) else edge), upto
    return lower, lower, math.inf


def _averages(
    stable: Histogram, candidate: Histogram, theirs: float, ours: float
) -> tuple[float, float]:
    """Return the ratio of the averages and its lower confidence bound."""
    mine, usual = candidate.total / candidate.count, stable.total / stable.count
    if mine <= 0 or usual <= 0:
        return 0.0, 0.0
    spread = (
        _variance(candidate, mine) / ours / mine**2 + _variance(stable, usual) / theirs / usual**2
    )
    ratio = mine / usual
    return ratio, ratio * math.exp(-DEVIATIONS * math.sqrt(spread))


def _variance(histogram: Histogram, mean: float) -> float:
    """Return the variance, with values spread evenly within their buckets."""
    total = lower = 0.0
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        upper = 2 * lower if math.isinf(edge) else edge
        total += count * (((lower + upper) / 2 - mean) ** 2 + (upper - lower) ** 2 / 12)
        lower = upper
    return total / histogram.count


def _at_least(errors: float, number: float, rate: float) -> float:
    """Return the probability of at least `errors` errors in `number` requests (binomial tail)."""
    if rate <= 0:
        return 0.0 if errors else 1.0
    first, last = math.ceil(errors), math.floor(number)
    terms = (
        math.exp(_choose(last, k) + k * math.log(rate) + (last - k) * math.log1p(-rate))
        for k in range(first, last + 1)
    )
    return _summed(terms)


def _fisher(bad: float, number: float, others_bad: float, others: float) -> float:
    """Return the probability that chance gives the first set at least `bad` of all bad requests (Fisher)."""
    ours, theirs = math.floor(number), math.floor(others)
    both = math.ceil(bad) + math.floor(others_bad)
    whole = _choose(ours + theirs, both)
    terms = (
        math.exp(_choose(ours, k) + _choose(theirs, both - k) - whole)
        for k in range(math.ceil(bad), min(ours, both) + 1)
        if both - k <= theirs
    )
    return _summed(terms)


def _summed(terms: Iterable[float]) -> float:
    """Sum decreasing terms, stopping at negligible ones."""
    total = 0.0
    for term in terms:
        total += term
        if term < SIGNIFICANCE * 1e-9 and total > 0:
            break
    return min(1.0, total)


def _choose(number: int, chosen: int) -> float:
    """Return the logarithm of the binomial coefficient."""
    return math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
