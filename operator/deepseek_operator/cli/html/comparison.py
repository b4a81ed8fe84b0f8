"""A comparison as a page: what each way costs as the load grows, and where another one is cheaper."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from deepseek_operator.advisor.cost_curves import Compared, Turn, turns
from deepseek_operator.cli.html.charts import Lines, Series, Table, Words, lines
from deepseek_operator.cli.html.template import render
from deepseek_operator.cli.output import as_yaml

# As many loads as the table of the picture has at most.
ROWS = 9


def page(said: dict[str, Any], compared: Sequence[Compared], today: date) -> str:
    """A page of a comparison.

    Args:
        said: The comparison, of `comparison.plain`.
        compared: The ways under other loads, ascending.
        today: The day by which prices are old or not.
    """
    found = turns(compared)
    return render(
        "comparison.html.j2",
        said=said,
        today=today.isoformat(),
        costs=costs(said, compared, found),
        turns=found,
        resource=as_yaml(said["resource"]) if said["resource"] else "",
    )


def costs(
    said: dict[str, Any], compared: Sequence[Compared], found: Sequence[Turn]
) -> Lines | None:
    """Dollars of a month by the load, of all ways against which nothing speaks; None: there is none."""
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
    here = said["load"]["requestsPerSecond"]
    step = max((len(compared) - 1) // (ROWS - 1), 1)
    return lines(
        Words(
            "Dollars of a month, by the load",
            _words(compared, found),
            "requests/s on average",
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
    """What the ways cost against which nothing speaks."""
    return {
        way.way: way.per_month for way in compared.ways if not way.against and way.per_month > 0
    }


def _words(compared: Sequence[Compared], found: Sequence[Turn]) -> str:
    first, last = compared[0].cheapest, compared[-1].cheapest
    if not found:
        way = first or last
        return f"The cheapest at every load shown: {way.way}." if way else "Nothing suits."
    said = "; ".join(f"from {turn.requests:.3g} requests/s {turn.after}" for turn in found)
    return f"The cheapest: {found[0].before}; {said}."
