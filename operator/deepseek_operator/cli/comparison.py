"""The ways to run a model side by side: as plain data, and as a page."""

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
from deepseek_operator.advisor.provisioning import Wish, shapes
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.catalog.tasks import Task
from deepseek_operator.cli.output import as_yaml, new_table, show, write


def plain(
    wish: Wish,
    found: Sequence[Option],
    taken: Option | None,
    body: dict[str, Any] | None,
    known: Prices,
) -> dict[str, Any]:
    """A comparison as plain data."""
    load = wish.load
    return {
        "model": wish.model_id,
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
            for shape in shapes(wish)
            if known.of(shape.profile)
        ],
        "resource": body,
    }


def models(task: Task, found: Sequence[Candidate], least: float) -> dict[str, Any]:
    """The models of a task as plain data."""
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


def page(said: dict[str, Any]) -> None:
    """Write a comparison of `plain`."""
    load = said["load"]
    if "task" in said:
        _models(said["task"])
    write(
        f"{said['model']}: {load['requestsPerSecond']:g} requests/s, {load['peakRequestsPerSecond']:g} at "
        f"the peak, {load['requestsPerDay']:,} a day; {load['inputTokens']} tokens in, "
        f"{load['outputTokens']} out\n\n"
    )
    table = new_table("", "way", "where", "replicas", "what", "$/month", "$/Mtok out", "but")
    for row in said["ways"]:
        price = row["perMillionOutputTokens"]
        but = [row["against"]] if row["against"] else row["doubts"]
        table.add_row(
            "*" if row["way"] == said["chosen"] else "",
            row["way"],
            row["where"],
            row["replicas"] or "-",
            row["what"],
            f"{row['perMonth']:,}",
            f"{price:g}" if price else "-",
            ", ".join(but),
        )
    show(table)
    _turns(said["breakEven"])
    kinds = new_table(
        "replica", "requests/s", "at once", "first token", "between", "within", "at the peak"
    )
    for row in said["kinds"]:
        kinds.add_row(
            row["replica"],
            f"{row['requestsPerSecond']:g}",
            str(row["atOnce"]),
            f"{1000 * row['ttftSeconds']:.0f} ms",
            f"{1000 * row['itlSeconds']:.1f} ms",
            f"{row['error']:.0%}",
            f"{row['replicasAtPeak']:,} replicas",
        )
    if said["kinds"]:
        write("\n")
        show(kinds)
    if said["chosen"] == HOURS:
        write("\nNobody scales it to zero by itself: set spec.replicas to 0 outside those hours.\n")
    if said["resource"]:
        write(f"\n{as_yaml(said['resource'])}")
    elif said["chosen"]:
        write("\nA hosted API takes no resource; --choose another way to have one.\n")


def _models(task: dict[str, Any]) -> None:
    """Which models do a task, and why one of them."""
    write(f"{task['name']}: {task['benchmark']} of {task['least']:g} or more ({task['about']})\n")
    table = new_table("", "model", task["benchmark"], "way", "$/month", "but")
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
    """Where one way becomes cheaper than another."""
    write("\n")
    if hours := even["ownBeforeOnDemandFromHoursPerDay"]:
        write(
            f"A machine of your own is cheaper than one on demand from {hours:g} hours a day on.\n"
        )
    for way, rate in even["hostedUpToRequestsPerSecond"].items():
        write(f"A hosted API is cheaper than '{way}' up to {rate:g} requests/s.\n")
