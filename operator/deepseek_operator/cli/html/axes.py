"""Axes: where a value is drawn, and which values are written beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

# Marks of an axis are these times a power of ten.
ROUND = (1.0, 2.0, 5.0)
# As many marks as an axis has at most.
MARKS = 6
# How far beyond the largest value an axis goes.
ROOM = 1.04


@dataclass(frozen=True)
class Axis:
    """Values between two, as places between two.

    Attributes:
        low: The least value; above 0 where `log`.
        high: The largest.
        start: Where the least is drawn.
        end: Where the largest is drawn.
        log: Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value is drawn; what is beyond the ends at the ends."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = log10(low), log10(high), log10(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return round(self.start + share * (self.end - self.start), 1)

    def marks(self) -> list[float]:
        """Round values to write beside it."""
        return self._powers() if self.log else self._steps()

    def _steps(self) -> list[float]:
        least = (self.high - self.low) / MARKS
        if least <= 0:
            return [self.low]
        power = 10.0 ** floor(log10(least))
        step = next(power * each for each in (*ROUND, 10.0) if power * each >= least * 0.999)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _powers(self) -> list[float]:
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        for each in (ROUND, (1.0, 3.0), (1.0,)):
            found = [10.0**power * part for power in powers for part in each]
            found = [
                value for value in found if self.low <= value * 1.001 and value <= self.high * 1.001
            ]
            if len(found) <= MARKS + 1:
                return found
        return found[:: ceil(len(found) / MARKS)]


def axis(values: Sequence[float], start: float, end: float, log: bool) -> Axis:
    """One that all values are on: from 0, or where it is logarithmic from the least above that."""
    high = max(values)
    if log:
        low = min(value for value in values if value > 0)
        return Axis(low, high if high > low else low * 10, start, end, log=True)
    return Axis(0.0, high * ROOM or 1.0, start, end)


def around(values: Sequence[float]) -> tuple[float, float]:
    """The round values next to all that are above 0, below and above."""
    above = [value for value in values if value > 0]
    powers = range(floor(log10(min(above))), ceil(log10(max(above))) + 1)
    found = [10.0**power * part for power in powers for part in ROUND]
    low = max(value for value in found if value <= min(above) * (1 + 1e-9))
    high = min((value for value in found if value >= max(above) * (1 - 1e-9)), default=found[-1])
    return low, high


def short(value: float) -> str:
    """A number as it is written beside an axis: three digits that count."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"
