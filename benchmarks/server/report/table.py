"""Measured figures beside their goals, as lines and as a table."""

from collections.abc import Sequence
from typing import Any

from benchmarks.server.report import rows
from benchmarks.server.report.summary import RATE

COLUMNS = ("row", "figure", "value", "floor", "aim", "reached", "share_of_limit")


def lines(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a line for each row, and for each comparison with a baseline.

    Args:
        results: the results of Suite.run.
    """
    found = []
    for row, figures in results["rows"].items():
        goal = rows.goal(results["profile"], row)
        if goal is rows.LIMIT_GOAL and goal.figure not in figures:
            goal = None  # no accelerator was named, or its limits are unknown
        name = goal.figure if goal else RATE
        line = _line(row, name, figures.get(name), goal)
        found.append(line | {"share_of_limit": figures.get("share_of_limit")})
    for row, theirs in results["baseline"].items():
        ours, other = (of.get(RATE) for of in (results["rows"].get(row, {}), theirs))
        ratio = round(ours / other, 3) if ours and other else None
        goal = rows.BASELINE_GOAL
        found.append(_line(f"{row} to baseline", goal.figure, ratio, goal))
    return found


def _line(row: str, figure: str, value: float | None, goal: rows.Goal | None) -> dict[str, Any]:
    line = {"row": row, "figure": figure, "value": value}
    if goal is not None:
        line |= {"floor": round(goal.floor, 4), "aim": round(goal.aim, 4)}
        line["reached"] = "failed" if value is None else goal.verdict(value)
    return line


def as_text(found: Sequence[dict[str, Any]]) -> str:
    """Return lines as a Markdown table."""
    cells = [list(COLUMNS), *([_cell(line.get(name)) for name in COLUMNS] for line in found)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])


def _cell(value: object) -> str:
    return "" if value is None else str(value)
