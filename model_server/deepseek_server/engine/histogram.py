"""How often a quantity had which size: counts per bucket, cheap enough for every token.

prometheus_client's histogram takes a lock and walks its buckets for each value. Here a value costs
a binary search and two additions, and the result is plain data, which an engine in a process of
its own can send. There are no locks: one thread observes.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Distribution:
    """What a histogram has seen so far.

    Attributes:
        bounds: the buckets' upper bounds, themselves included, ascending.
        counts: values in each bucket and not in the one before; the last bucket has no bound.
        total: the sum of all values.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Bounds and how many values are not above them, as Prometheus writes buckets."""
        rows, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            rows.append(("+Inf" if bound == float("inf") else repr(float(bound)), below))
        return rows


NOTHING = Distribution()


class Histogram:
    """Counts values.

    Args:
        bounds: the buckets' upper bounds, ascending.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, or so many of it."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    @property
    def distribution(self) -> Distribution:
        """All values so far."""
        return Distribution(self._bounds, tuple(self._counts), self._total)


# Powers of two: a batch of 1 to the largest that an engine takes, and the tokens of a long prompt.
SIZES = tuple(float(2**power) for power in range(18))
STEP_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0),
)


class Steps:
    """What the steps of an engine were like."""

    def __init__(self) -> None:
        self.seconds, self.tokens, self.sequences = (
            Histogram(STEP_SECONDS),
            Histogram(SIZES),
            Histogram(SIZES),
        )

    def record(self, seconds: float, tokens: int, sequences: int) -> None:
        """Count a step: how long it took, and how many tokens of how many sequences it computed."""
        self.seconds.observe(seconds)
        self.tokens.observe(tokens)
        self.sequences.observe(sequences)
