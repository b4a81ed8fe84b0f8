"""Chart axes: positions of values, and tick marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

# Tick values are these times a power of ten.
ROUND = (1.0, 2.0, 5.0)
# Maximum number of ticks.
MARKS = 6
# Ratio of the end of an axis to the largest value.
ROOM = 1.04


@dataclass(frozen=True)
class Axis:
    """A mapping of a range of values to a range of coordinates.

    Attributes:
        low: The least value; above 0 if `log`.
        high: The largest value.
        start: Coordinate of the least value.
        end: Coordinate of the largest value.
        log: True for a logarithmic scale.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return the coordinate of a value, clamped to the ends of the axis."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = log10(low), log10(high), log10(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return round(self.start + share * (self.end - self.start), 1)

    def marks(self) -> list[float]:
        """Return the tick values: round numbers within the range."""
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
    """Return an axis for all values: from 0, or from the least positive value if logarithmic."""
    high = max(values)
    if log:
        low = min(value for value in values if value > 0)
        return Axis(low, high if high > low else low * 10, start, end, log=True)
    return Axis(0.0, high * ROOM or 1.0, start, end)


def around(values: Sequence[float]) -> tuple[float, float]:
    """Return the nearest round values below and above all positive values."""
    above = [value for value in values if value > 0]
    powers = range(floor(log10(min(above))), ceil(log10(max(above))) + 1)
    found = [10.0**power * part for power in powers for part in ROUND]
    low = max(value for value in found if value <= min(above) * (1 + 1e-9))
    high = min((value for value in found if value >= max(above) * (1 - 1e-9)), default=found[-1])
    return low, high


def short(value: float) -> str:
    """Format a number for an axis, with three significant digits."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"
