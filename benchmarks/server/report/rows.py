"""The rows that are measured of a server, and their goals.

Closed rows (`nK`): K concurrent requests with prompts of 512 and answers of 128 tokens. `mixed`:
random arrivals at 70 % of the server's peak, with lengths drawn from log-normal distributions of
mean 600 and 200. `prefix`: a prompt of 8192 tokens twice. `start`: from process start to the first
token.
"""

from dataclasses import dataclass
from typing import Literal

from benchmarks.server.client.prompts import Length
from benchmarks.server.client.workloads import Lengths
from benchmarks.server.report.summary import RATE

LENGTHS = Lengths(Length(512), Length(128))
MIXED = Lengths(Length(600, drawn=True), Length(200, drawn=True))
MIXED_SHARE = 0.7
MIXED_AT_ONCE = 256
MIXED_SECONDS = 20.0
PREFIX = 8192

# Consecutive requests of each concurrent client: enough for some seconds.
ROUNDS = {1: 5, 32: 3, 64: 3}
FEWEST_ROUNDS = 2

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Goal:
    """The goal of a figure.

    Attributes:
        figure: name of the figure.
        floor: the value that it must reach.
        aim: the value that it should reach.
        better: whether higher or lower is better.
    """

    figure: str
    floor: float
    aim: float
    better: Better = "higher"

    def verdict(self, value: float) -> str:
        """Return `aim`, `floor` or `below`."""
        sign = 1 if self.better == "higher" else -1
        for name, wanted in (("aim", self.aim), ("floor", self.floor)):
            if sign * value >= sign * wanted:
                return name
        return "below"


_RATES: dict[tuple[str, str], tuple[float, float]] = {
    ("qwen-7b", "n1"): (185, 245),
    ("qwen-7b", "n32"): (3300, 4500),
    ("qwen-7b", "n256"): (6500, 8500),
    ("v2-lite", "n1"): (170, 300),
    ("v2-lite", "n64"): (4000, 8500),
    ("v2-lite", "n256"): (7000, 13500),
}
_ANY = {
    "mixed": Goal("itl_p99_to_p50", 4, 2, "lower"),
    "prefix": Goal("second_to_first", 1 / 8, 1 / 25, "lower"),
    "start": Goal("to_reading", 3, 1.5, "lower"),
}
BASELINE_GOAL = Goal("ratio", 5, 8)
# Goals for the share of the roofline limit: a decode step, and the closed rows of a slice.
LIMIT_GOAL = Goal("share_of_limit", 1 / 2.5, 1 / 1.5)


def goal(profile: str, row: str) -> Goal | None:
    """Return the goal of a row on one H200-class GPU; None if it has none."""
    if row in _ANY:
        return _ANY[row]
    if profile.endswith("-slice") and at_once(row):
        return LIMIT_GOAL
    rates = _RATES.get((profile, row))
    return Goal(RATE, *rates) if rates else None


def at_once(row: str) -> int | None:
    """Return the concurrent requests of a closed row, None for any other name."""
    number = row.removeprefix("n")
    return int(number) if row.startswith("n") and number.isdigit() and int(number) else None


def known(row: str) -> bool:
    """Return whether a row exists."""
    return row in _ANY or at_once(row) is not None
