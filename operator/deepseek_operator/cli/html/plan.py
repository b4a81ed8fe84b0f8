"""A plan as a page: memory, placement, speed and cost as pictures, each with its table."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from deepseek_operator.advisor.cost import GONE
from deepseek_operator.advisor.cost_curves import Curve
from deepseek_operator.cli.html.axes import short
from deepseek_operator.cli.html.charts import Lines, Part, Series, Table, Words, lines, parts
from deepseek_operator.cli.html.placement import placement
from deepseek_operator.cli.html.template import render

# The parts of a GPU's memory, in the words of the page.
MEMORY = (
    ("weights", "weights"),
    ("cache", "KV cache"),
    ("steps", "overhead: steps and their graphs"),
    ("reserved", "overhead: driver, CUDA, libraries"),
    ("rest", "free, for fragments"),
)
# How far below what a replica carries the costs of tokens begin, and how many loads are looked at.
LEAST, LOADS = 50.0, 60


def page(said: dict[str, Any], costs: Sequence[Curve], today: date) -> str:
    """A page of a plan.

    Args:
        said: The plan, of `said.plain`.
        costs: What a load costs by the ways to pay.
        today: The day by which prices are old or not.
    """
    return render(
        "plan.html.j2",
        said=said,
        today=today.isoformat(),
        cheapest=_sold(said["cost"]),
        memory=memory(said["fit"]["bytesOfGpu"]),
        placement=placement(said["shape"], said["fit"]["accelerator"]),
        speed=speed(said["performance"]),
        ways=Table(
            ("way", "cheapest for one replica"), [(curve.way, curve.what) for curve in costs]
        ),
        hourly=hourly(costs),
        tokens=of_tokens(costs, said["performance"]),
    )


def _sold(cost: dict[str, Any] | None) -> dict[str, Any] | None:
    """The cheapest way that can be had; None: none is known."""
    rows = cost["offers"] if cost else []
    return next((row for row in rows if GONE not in row["doubts"]), None)


def memory(sizes: dict[str, int]) -> list[Part]:
    """The parts of each GPU's memory; none where nobody knows them."""
    if not sizes:
        return []
    return parts([(words, sizes[name], f"{sizes[name] / 1e9:,.1f} GB") for name, words in MEMORY])


def speed(performance: dict[str, Any] | None) -> Lines | None:
    """Tokens in a second by requests at once; None where it is not predicted."""
    if performance is None:
        return None
    rows, error = performance["ofReplica"], performance["error"]
    points = [(row["atOnce"], row["outputTokensPerSecond"]) for row in rows]
    return lines(
        Words(
            "Output tokens in a second, of a replica",
            f"From {points[0][1]:,.0f} with {points[0][0]} at once to {points[-1][1]:,.0f} with "
            f"{points[-1][0]}; each may be {error:.0%} more or less.",
            "requests at once",
            "tokens/s",
        ),
        [Series("predicted", points, [error * value for _, value in points])],
        Table(
            ("at once", "tokens/s", "from", "to", "first token", "between tokens", "requests/s"),
            [_row(row, error) for row in rows],
        ),
        log=(len(points) > 1, False),
    )


def _row(row: dict[str, Any], error: float) -> Sequence[str]:
    rate = row["outputTokensPerSecond"]
    return (
        f"{row['atOnce']}",
        f"{rate:,.0f}",
        f"{max(rate * (1 - error), 0):,.0f}",
        f"{rate * (1 + error):,.0f}",
        f"{1000 * row['ttftSeconds']:.0f} ms",
        f"{1000 * row['itlSeconds']:.1f} ms",
        f"{row['requestsPerSecond']:.3g}",
    )


def hourly(costs: Sequence[Curve]) -> Lines | None:
    """Dollars of an hour by the load; None where nothing is known of either."""
    if not costs:
        return None
    carries, number = costs[0].carries, max(len(curve.per_hour) for curve in costs)
    ends = [carries * replicas for replicas in range(1, number + 1)]
    starts = [0.0, *ends]
    drawn = [
        Series(
            curve.way,
            [(load, curve.at(min(load * (1 + 1e-6), ends[-1]))) for load in starts],
            steps=bool(curve.per_hour),
        )
        for curve in costs
    ]
    return lines(
        Words(
            "Dollars of an hour, by the load",
            f"One more replica for every {carries:.3g} requests/s. " + _cheapest(costs, ends),
            "requests/s",
            "$/h",
        ),
        drawn,
        Table(
            ("requests/s up to", "replicas", *(curve.way for curve in costs)),
            [
                (f"{load:.3g}", f"{place}", *(f"{curve.at(load):,.2f}" for curve in costs))
                for place, load in enumerate(ends, 1)
            ],
        ),
    )


def _cheapest(costs: Sequence[Curve], loads: Sequence[float]) -> str:
    """Which way is the cheapest at the ends, in words."""
    few, many = (min(costs, key=lambda curve: curve.at(load)).way for load in (loads[0], loads[-1]))
    return f"Cheapest for one full replica: {few}" + ("." if few == many else f", later {many}.")


def of_tokens(costs: Sequence[Curve], performance: dict[str, Any] | None) -> Lines | None:
    """Dollars of a million output tokens by how many there are in a second."""
    if not costs or performance is None:
        return None
    answer, carries = int(performance["outputTokens"]), costs[0].carries
    most = carries * max(len(curve.per_hour) for curve in costs)
    least = carries / LEAST
    loads = [least * (most / least) ** (step / (LOADS - 1)) for step in range(LOADS)]
    edges = {carries * number * (1 + side) for number in range(1, 64) for side in (0, 1e-6)}
    loads = sorted({*loads[:-1], *(edge for edge in edges if edge < most), most})

    def each(curve: Curve, load: float) -> float:
        return 1e6 * curve.at(load) / (3600 * load * answer)

    shown = [least, carries / 10, carries / 2, carries, most]
    return lines(
        Words(
            "Dollars of a million output tokens, by their number",
            f"Machines that are hardly asked make dear tokens: {each(costs[0], least):,.2f} $ at "
            f"{short(least * answer)} tokens/s, {each(costs[0], carries):,.2f} $ when a replica is full "
            f"({costs[0].way}).",
            "tokens/s",
            "$/Mtok",
        ),
        [
            Series(curve.way, [(load * answer, each(curve, load)) for load in loads])
            for curve in costs
        ],
        Table(
            ("tokens/s", *(curve.way for curve in costs)),
            [
                (short(load * answer), *(short(each(curve, load)) for curve in costs))
                for load in shown
            ],
        ),
        log=(True, True),
    )
