"""HTML page of a comparison: cost of each option by load, with the break-even points."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from deepseek_operator.advisor.cost_curves import Compared, Turn, turns
from deepseek_operator.cli.html.charts import Captions, Lines, Series, Table, lines
from deepseek_operator.cli.html.template import render
from deepseek_operator.cli.output import as_yaml

# Maximum number of loads in the table of the chart.
ROWS = 9


def page(comparison: dict[str, Any], compared: Sequence[Compared], today: date) -> str:
    """Return the page of a comparison.

    Args:
        comparison: The comparison, as returned by `comparison.plain`.
        compared: The options under other loads, ascending.
        today: Date at which the age of prices is judged.
    """
    found = turns(compared)
    return render(
        "comparison.html.j2",
        comparison=comparison,
        today=today.isoformat(),
        costs=costs(comparison, compared, found),
        turns=found,
        resource=as_yaml(comparison["resource"]) if comparison["resource"] else "",
    )


def costs(
    comparison: dict[str, Any], compared: Sequence[Compared], found: Sequence[Turn]
) -> Lines | None:
    """Return the chart of monthly cost by load of all options without objections; None if there are none."""
    free = [_free(each) for each in compared]
    ways = dict.fromkeys(way for months in free for way in months)
    drawn = [
        Series(way, points)
        for way in ways
        if (
            points := [
                (each.requests, months[way])
                for each, months in zip(compared, free, strict=True)
                if way in months
            ]
        )
    ]
    if not drawn:
        return None
    names = [each.name for each in drawn]
    here = comparison["load"]["requestsPerSecond"]
    step = max((len(compared) - 1) // (ROWS - 1), 1)
    return lines(
        Captions(
            "Monthly cost by load",
            _summary(compared, found),
            "average requests/s",
            "$/month",
        ),
        drawn,
        Table(
            ("requests/s", *names),
            [
                (
                    f"{each.requests:.3g}",
                    *(f"{months[name]:,.0f}" if name in months else "-" for name in names),
                )
                for each, months in list(zip(compared, free, strict=True))[::step]
            ],
        ),
        log=(True, True),
        rings=[(turn.requests, turn.per_month) for turn in found],
        here=here,
    )


def _free(compared: Compared) -> dict[str, float]:
    """Return the monthly cost of each option without objections."""
    return {
        way.way: way.per_month for way in compared.ways if not way.against and way.per_month > 0
    }


def _summary(compared: Sequence[Compared], found: Sequence[Turn]) -> str:
    first, last = compared[0].cheapest, compared[-1].cheapest
    if not found:
        way = first or last
        return (
            f"Cheapest option at every load shown: {way.way}."
            if way
            else "No option meets the requirements."
        )
    later = "; ".join(f"from {turn.requests:.3g} requests/s {turn.after}" for turn in found)
    return f"Cheapest option: {found[0].before}; {later}."
