"""`deepseek catalog`: the data that plans are based on."""

from datetime import date
from typing import Annotated, Any

import typer

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.entries import built_in
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import (
    Commitment,
    Fact,
    Hardware,
    Hosted,
    InstanceOffer,
    Prices,
    Running,
)
from deepseek_operator.catalog.tasks import tasks
from deepseek_operator.cli import options
from deepseek_operator.cli.installation import installation
from deepseek_operator.cli.output import Format, listed

catalog = typer.Typer(
    help="List known models, accelerators, tasks and prices, with their dates.",
    no_args_is_help=True,
)

Output = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]


@catalog.command("models")
def list_models(values: options.Values = None, output: Output = Format.table) -> None:
    """List the models with their sizes and maximum context length."""
    installation(values, None, "")
    rows: list[dict[str, Any]] = []
    for name in models():
        known = models().get(name)
        row: dict[str, Any] = {"model": name, "served": known is not None}
        if known:
            row |= {
                "parameters": known.parameters,
                "weights": known.weights,
                "weightBytes": known.weight_bytes,
                "maxContext": known.shape.context,
                "attention": known.shape.attention,
            }
        rows.append(row)
    listed(rows, output, f"as of {models().as_of}")


@catalog.command("accelerators")
def list_accelerators(values: options.Values = None, output: Output = Format.table) -> None:
    """List the GPU types by their spec.accelerator.profile names."""
    installation(values, None, "")
    rows = [
        {
            "profile": name,
            "memoryMiB": kind.memory_mib,
            "bandwidthGBs": kind.bandwidth,
            "tflopsBfloat16": kind.tflops.get("bfloat16"),
            "together": kind.together,
            "resource": kind.resource,
        }
        for name, kind in accelerators().profiles.items()
    ]
    listed(rows, output, f"as of {built_in('accelerators')['as_of']}")


@catalog.command("tasks")
def list_tasks(output: Output = Format.table) -> None:
    """List the tasks, and the published benchmark score of each model."""
    rows: list[dict[str, Any]] = [
        {
            "task": task.name,
            "benchmark": task.benchmark,
            "model": model,
            "score": figure.score,
            "asOf": figure.as_of.isoformat(),
            "weak": figure.weak,
            "source": figure.source,
        }
        for task in tasks().values()
        for model, figure in task.figures.items()
    ]
    notes = "\n".join(f"{task.name}: {task.about}" for task in tasks().values())
    listed(rows, output, notes)


@catalog.command("prices")
def list_prices(
    profile: Annotated[str | None, typer.Option(help="List only this GPU type.")] = None,
    prices: options.PricesFile = None,
    as_of: options.AsOf = None,
    output: Output = Format.table,
) -> None:
    """List the prices of cloud instances, hosted APIs and hardware, with date and source.

    --prices FILE overrides them; the format is that of catalog/prices.yaml in the source tree.
    """
    known, today = options.known_prices(prices), options.day(as_of)
    rows: list[dict[str, Any]] = []
    for kind, facts in (
        ("on demand", known.machines),
        ("commitment", known.commitments),
        ("hosted", known.hosted),
        ("hardware", known.hardware),
    ):
        rows += [_priced(kind, fact, known, today) for fact in facts if _is_of(fact, profile)]
    amounts = (
        {} if profile else {name: getattr(known.running, name) for name in Running.model_fields}
    )
    for name, amount in amounts.items():
        row = {"kind": "running", "name": name, "price": f"{amount.value:g}"}
        rows.append(row | _fact_columns(amount, known, today))
    listed(rows, output)


def _is_of(fact: Fact, profile: str | None) -> bool:
    return profile is None or getattr(fact, "profile", None) == profile


def _priced(kind: str, fact: Fact, known: Prices, today: date) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": kind}
    if isinstance(fact, InstanceOffer):
        row |= {
            "name": f"{fact.cloud} {fact.region} {fact.name}",
            "gpus": f"{fact.gpus} x {fact.profile}",
            "price": f"{fact.per_hour:.3f}/h",
            "spot": f"{fact.spot_per_hour:.3f}/h" if fact.spot_per_hour else None,
        }
    elif isinstance(fact, Commitment):
        row |= {"name": f"{fact.cloud} {fact.name}", "price": f"-{fact.saves:.0%}"}
    elif isinstance(fact, Hosted):
        row["name"] = f"{fact.provider} {', '.join(fact.models)}"
        row["price"] = f"{fact.input:g} in, {fact.cached:g} cached, {fact.output:g} out /Mtok"
    elif isinstance(fact, Hardware):
        gpus = f"{fact.gpus} x {fact.profile}"
        row |= {"name": fact.name, "gpus": gpus, "price": f"{fact.price:,.0f}"}
    return row | _fact_columns(fact, known, today)


def _fact_columns(fact: Fact, known: Prices, today: date) -> dict[str, Any]:
    """Return the date, caveats and source of a price."""
    doubts = [
        word
        for word, holds in (
            ("stale", known.stale(fact.as_of, today)),
            ("weak", fact.weak),
            ("assumed", fact.assumed),
        )
        if holds
    ]
    return {"asOf": str(fact.as_of), "doubts": ", ".join(doubts), "source": fact.source}
