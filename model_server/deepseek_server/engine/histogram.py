"""Histograms that are cheap enough to update for every token.

prometheus_client's histogram takes a lock and iterates over its buckets for each value. Here a value
costs a binary search and two additions, and the result is plain data that an engine process can send.
There are no locks: only one thread may observe values.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Distribution:
    """The content of a histogram.

    Attributes:
        bounds: the inclusive upper bounds of the buckets, ascending.
        counts: number of values in each bucket, not cumulative; the last bucket has no bound.
        total: the sum of all values.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    total: float = 0.0

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return the bounds and the number of values up to each, as Prometheus buckets."""
        rows, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            rows.append(("+Inf" if bound == float("inf") else repr(float(bound)), below))
        return rows


NOTHING = Distribution()


class Histogram:
    """A histogram.

    Args:
        bounds: the buckets' upper bounds, ascending.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, `times` times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    @property
    def distribution(self) -> Distribution:
        """The values so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)


# Powers of two: from a batch of 1 to the largest batch, and to the tokens of a long prompt.
SIZES = tuple(float(2**power) for power in range(18))
STEP_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0),
)


class Steps:
    """Histograms of an engine's steps."""

    def __init__(self) -> None:
        self.seconds, self.tokens, self.sequences = (
            Histogram(STEP_SECONDS),
            Histogram(SIZES),
            Histogram(SIZES),
        )

    def record(self, seconds: float, tokens: int, sequences: int) -> None:
        """Count a step: its duration, its tokens and its sequences."""
        self.seconds.observe(seconds)
        self.tokens.observe(tokens)
        self.sequences.observe(sequences)
