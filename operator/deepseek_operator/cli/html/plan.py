"""HTML page of a plan: memory, placement, performance and cost as charts, each with a table."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from deepseek_operator.advisor.cost import GONE
from deepseek_operator.advisor.cost_curves import Curve
from deepseek_operator.cli.html.axes import short
from deepseek_operator.cli.html.charts import Captions, Lines, Part, Series, Table, lines, parts
from deepseek_operator.cli.html.placement import placement
from deepseek_operator.cli.html.template import render

# Parts of a GPU's memory and their labels.
MEMORY = (
    ("weights", "weights"),
    ("cache", "KV cache"),
    ("steps", "overhead: activations, CUDA graphs"),
    ("reserved", "overhead: driver, CUDA, libraries"),
    ("rest", "free, for fragmentation"),
)
# Ratio of a replica's capacity to the lowest load of the token cost chart, and its number of loads.
LEAST, LOADS = 50.0, 60


def page(plan: dict[str, Any], costs: Sequence[Curve], today: date) -> str:
    """Return the page of a plan.

    Args:
        plan: The plan, as returned by `plan_data.plain`.
        costs: Cost curve of each pricing option.
        today: Date at which the age of prices is judged.
    """
    return render(
        "plan.html.j2",
        plan=plan,
        today=today.isoformat(),
        cheapest=_sold(plan["cost"]),
        memory=memory(plan["fit"]["bytesOfGpu"]),
        placement=placement(plan["shape"], plan["fit"]["accelerator"]),
        speed=speed(plan["performance"]),
        ways=Table(
            ("terms", "cheapest offer for one replica"),
            [(curve.way, curve.what) for curve in costs],
        ),
        hourly=hourly(costs),
        tokens=of_tokens(costs, plan["performance"]),
    )


def _sold(cost: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the cheapest offer that is still sold; None if there is none."""
    rows = cost["offers"] if cost else []
    return next((row for row in rows if GONE not in row["doubts"]), None)


def memory(sizes: dict[str, int]) -> list[Part]:
    """Return the parts of each GPU's memory; empty if they are unknown."""
    if not sizes:
        return []
    return parts([(label, sizes[name], f"{sizes[name] / 1e9:,.1f} GB") for name, label in MEMORY])


def speed(performance: dict[str, Any] | None) -> Lines | None:
    """Return the chart of output tokens/s by concurrency; None without a prediction."""
    if performance is None:
        return None
    rows, error = performance["ofReplica"], performance["error"]
    points = [(row["atOnce"], row["outputTokensPerSecond"]) for row in rows]
    return lines(
        Captions(
            "Output tokens per second of a replica",
            f"From {points[0][1]:,.0f} at concurrency {points[0][0]} to {points[-1][1]:,.0f} at "
            f"concurrency {points[-1][0]}, each within {error:.0%}.",
            "concurrent requests",
            "tokens/s",
        ),
        [Series("predicted", points, [error * value for _, value in points])],
        Table(
            ("concurrency", "tokens/s", "from", "to", "TTFT", "ITL", "requests/s"),
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
    """Return the chart of hourly cost by load; None without prices or a prediction."""
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
        Captions(
            "Hourly cost by load",
            f"One more replica per {carries:.3g} requests/s. " + _cheapest(costs, ends),
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
    """Return a sentence that names the cheapest terms at the lowest and the highest load."""
    few, many = (min(costs, key=lambda curve: curve.at(load)).way for load in (loads[0], loads[-1]))
    return f"Cheapest for one full replica: {few}" + (
        "." if few == many else f", at the highest load {many}."
    )


def of_tokens(costs: Sequence[Curve], performance: dict[str, Any] | None) -> Lines | None:
    """Return the chart of cost per million output tokens by tokens/s; None without prices or a prediction."""
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
        Captions(
            "Cost per million output tokens by load",
            f"Low utilization makes tokens expensive: ${each(costs[0], least):,.2f} at "
            f"{short(least * answer)} tokens/s, ${each(costs[0], carries):,.2f} with one full replica "
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
