"""The comparison of deployment options, as plain data and as text output."""

from collections.abc import Sequence
from typing import Any

from deepseek_operator.advisor.model_choice import Candidate
from deepseek_operator.advisor.options import (
    HOURS,
    Option,
    break_even,
    hours_of_break_even,
    token_price,
)
from deepseek_operator.advisor.provisioning import Requirements, shapes
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.catalog.tasks import Task
from deepseek_operator.cli.output import as_yaml, new_table, show, write


def plain(
    requirements: Requirements,
    found: Sequence[Option],
    taken: Option | None,
    body: dict[str, Any] | None,
    known: Prices,
) -> dict[str, Any]:
    """Return a comparison as plain data."""
    load = requirements.load
    return {
        "model": requirements.model_id,
        "load": {
            "requestsPerSecond": load.requests,
            "peakRequestsPerSecond": load.peak,
            "requestsPerDay": round(load.requests * 3600 * load.hours),
            "inputTokens": load.input,
            "outputTokens": load.output,
            "hoursPerDay": load.hours,
        },
        "ways": [_way(option, load) for option in found],
        "chosen": taken.way if taken else None,
        "breakEven": {
            "ownBeforeOnDemandFromHoursPerDay": _short(hours_of_break_even(found)),
            "hostedUpToRequestsPerSecond": {
                even.first: _short(even.requests) for even in break_even(found, load)
            },
        },
        "kinds": [
            {
                "replica": f"{shape.gpus} x {shape.profile}",
                "requestsPerSecond": _short(shape.at.requests(load.output)),
                "atOnce": shape.at.at_once,
                "ttftSeconds": _short(shape.at.ttft),
                "itlSeconds": _short(shape.at.itl),
                "error": _short(shape.at.error),
                "replicasAtPeak": shape.peak,
            }
            for shape in shapes(requirements)
            if known.of(shape.profile)
        ],
        "resource": body,
    }


def models(task: Task, found: Sequence[Candidate], least: float) -> dict[str, Any]:
    """Return the candidate models of a task as plain data."""
    return {
        "name": task.name,
        "benchmark": task.benchmark,
        "about": task.about,
        "note": task.note,
        "least": _short(least),
        "models": [
            {
                "model": each.model_id,
                "score": each.figure.score,
                "way": each.way.way if each.way else None,
                "perMonth": round(each.way.per_month) if each.way else None,
                "against": each.against or None,
                "source": each.figure.source,
                "asOf": each.figure.as_of.isoformat(),
                "weak": each.figure.weak,
            }
            for each in found
        ],
    }


def _way(option: Option, load: Load) -> dict[str, Any]:
    shape = option.shape
    return {
        "way": option.way,
        "where": option.where,
        "what": option.what,
        "replicas": f"{shape.peak} of {shape.gpus} x {shape.profile}" if shape else None,
        "perMonth": round(option.per_month),
        "perMillionOutputTokens": _short(token_price(option, load)),
        "doubts": list(option.doubts),
        "against": option.against or None,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def page(data: dict[str, Any]) -> None:
    """Print a comparison as returned by `plain`."""
    load = data["load"]
    if "task" in data:
        _models(data["task"])
    write(
        f"{data['model']}: {load['requestsPerSecond']:g} requests/s on average, "
        f"{load['peakRequestsPerSecond']:g} at peak, {load['requestsPerDay']:,} per day; "
        f"{load['inputTokens']} input tokens, {load['outputTokens']} output tokens\n\n"
    )
    table = new_table(
        "", "option", "location", "replicas", "offer", "$/month", "$/Mtok output", "caveats"
    )
    for row in data["ways"]:
        price = row["perMillionOutputTokens"]
        but = [row["against"]] if row["against"] else row["doubts"]
        table.add_row(
            "*" if row["way"] == data["chosen"] else "",
            row["way"],
            row["where"],
            row["replicas"] or "-",
            row["what"],
            f"{row['perMonth']:,}",
            f"{price:g}" if price else "-",
            ", ".join(but),
        )
    show(table)
    _turns(data["breakEven"])
    kinds = new_table("replica", "requests/s", "concurrency", "TTFT", "ITL", "error", "at peak")
    for row in data["kinds"]:
        kinds.add_row(
            row["replica"],
            f"{row['requestsPerSecond']:g}",
            str(row["atOnce"]),
            f"{1000 * row['ttftSeconds']:.0f} ms",
            f"{1000 * row['itlSeconds']:.1f} ms",
            f"{row['error']:.0%}",
            f"{row['replicasAtPeak']:,} replicas",
        )
    if data["kinds"]:
        write("\n")
        show(kinds)
    if data["chosen"] == HOURS:
        write("\nScaling to zero is manual: set spec.replicas to 0 outside those hours.\n")
    if data["resource"]:
        write(f"\n{as_yaml(data['resource'])}")
    elif data["chosen"]:
        write("\nA hosted API needs no resource; --choose another option to get one.\n")


def _models(task: dict[str, Any]) -> None:
    """Print the candidate models of a task, and why each one is not chosen."""
    write(f"{task['name']}: {task['benchmark']} >= {task['least']:g} ({task['about']})\n")
    table = new_table("", "model", task["benchmark"], "option", "$/month", "caveats")
    for row in task["models"]:
        month = row["perMonth"]
        table.add_row(
            "" if row["against"] else "*",
            row["model"],
            f"{row['score']:g}{' (weak)' if row['weak'] else ''}",
            row["way"] or "-",
            "-" if month is None else f"{month:,}",
            row["against"] or "",
        )
    show(table)
    write(f"{task['note']}\n\n" if task["note"] else "\n")


def _turns(even: dict[str, Any]) -> None:
    """Print the break-even points between options."""
    write("\n")
    if hours := even["ownBeforeOnDemandFromHoursPerDay"]:
        write(f"Your own machine is cheaper than an on-demand one from {hours:g} hours per day.\n")
    for way, rate in even["hostedUpToRequestsPerSecond"].items():
        write(f"A hosted API is cheaper than '{way}' up to {rate:g} requests/s.\n")
