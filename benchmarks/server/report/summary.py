"""Summary figures of many requests."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.server.client.timing import Timing

RATE = "output_tokens_per_second"
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True)
class Goals:
    """Latency goals of a request that counts toward goodput, in seconds.

    Attributes:
        first_token: maximum time to the first token.
        per_token: maximum mean time between tokens.
    """

    first_token: float = math.inf
    per_token: float = math.inf

    def kept(self, timing: Timing) -> bool:
        """Return whether a request was completed within the goals."""
        return (
            timing.complete
            and timing.first_token <= self.first_token
            and timing.per_token <= self.per_token
        )


def percentile(values: Iterable[tuple[float, float]], share: float) -> float:
    """Return the weighted percentile: the smallest value that is no less than `share` of all.

    Args:
        values: values with their weights; not empty.
        share: from 0 to 1.
    """
    ordered = sorted(values)
    wanted = share * sum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        # Sums of fractional weights may be slightly too small.
        if reached >= wanted * (1 - 1e-9):
            return value
    return ordered[-1][0]


def distribution(values: Sequence[tuple[float, float]]) -> dict[str, float] | None:
    """Return mean and percentiles of weighted seconds, in milliseconds; None if there are none."""
    if not values:
        return None
    mean = sum(value * weight for value, weight in values) / sum(weight for _, weight in values)
    figures = {"mean": mean} | {name: percentile(values, share) for name, share in SHARES.items()}
    return {name: round(1e3 * value, 4) for name, value in figures.items()}


def summarize(timings: Sequence[Timing], goals: Goals | None = None) -> dict[str, Any]:
    """Return all figures of a run.

    Rates are over the time from the first request to the last token. Requests that were cut off by
    the end of the measurement count with their tokens so far, not as failures.

    Args:
        timings: timings of all requests of the run.
        goals: goals for goodput; None to omit goodput.
    """
    complete = [timing for timing in timings if timing.complete]
    answered = [timing for timing in timings if timing.arrivals and not timing.error]
    seconds = max((t.ended for t in timings), default=0) - min((t.sent for t in timings), default=0)
    output = sum(timing.output_tokens for timing in answered)
    prompt = sum(timing.prompt_tokens for timing in answered)
    rate = 1 / seconds if seconds > 0 else 0.0
    failures = [timing.error for timing in timings if timing.error]
    figures: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "requests": len(timings),
        "complete": len(complete),
        "cut": sum(timing.cut for timing in timings),
        "failed": len(failures),
        "failures": sorted(set(failures))[:3],
        "prompt_tokens": prompt,
        "cached_tokens": sum(timing.cached_tokens for timing in answered),
        "output_tokens": round(output),
        "requests_per_second": round(len(complete) * rate, 4),
        RATE: round(output * rate, 2),
        "total_tokens_per_second": round((output + prompt) * rate, 2),
        "ttft_ms": distribution([(timing.first_token, 1) for timing in answered]),
        "itl_ms": distribution([gap for timing in answered for gap in timing.gaps]),
        "e2e_ms": distribution([(timing.whole, 1) for timing in complete]),
    }
    if goals is not None:
        good = sum(map(goals.kept, timings))
        figures["goodput_requests_per_second"] = round(good * rate, 4)
        figures["goodput_share"] = round(good / len(timings), 4) if timings else 0.0
    return figures
