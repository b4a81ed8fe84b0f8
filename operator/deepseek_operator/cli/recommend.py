"""`deepseek recommend`: compare deployment options for a model under a load."""

import re
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from deepseek_operator.advisor.cost_curves import by_load
from deepseek_operator.advisor.model_choice import SHARE, Candidate, candidates, least_of
from deepseek_operator.advisor.options import Option, chosen, resource
from deepseek_operator.advisor.options import options as ways
from deepseek_operator.advisor.provisioning import Requirements
from deepseek_operator.advisor.workload import Load
from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.tasks import Task, tasks
from deepseek_operator.cli import comparison, options
from deepseek_operator.cli.errors import CommandError, RefusedError
from deepseek_operator.cli.html.comparison import page as html_page
from deepseek_operator.cli.output import Format, as_json, as_yaml, save, write
from deepseek_operator.plan.desired.validation import model_is_published

NOTHING = "NothingSuits"
# Maximum length of a resource name.
LONGEST = 52


class Data(StrEnum):
    """Allowed locations of prompts and answers."""

    anywhere = "anywhere"
    cloud = "cloud"
    hybrid = "hybrid"
    on_premises = "on-premises"


def recommend(
    model: Annotated[
        str | None,
        typer.Argument(help="Hub repository of the model; or use --task.", metavar="[MODEL]"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help=f"Choose the model by task instead of MODEL: {', '.join(tasks())}. Takes the cheapest "
            "model with a sufficient score."
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help=f"Minimum score for --task. Default: {SHARE:.0%} of the best score.",
        ),
    ] = None,
    requests: Annotated[
        float, typer.Option(min=0.000001, help="Average requests per second.")
    ] = 1.0,
    input_tokens: options.Input = 512,
    output_tokens: options.Output = 128,
    burst: options.Burst = 2.0,
    hours: options.Hours = 24.0,
    ttft: Annotated[
        float | None, typer.Option(min=1, help="Maximum time to first token, in milliseconds.")
    ] = None,
    itl: Annotated[
        float | None, typer.Option(min=0.1, help="Maximum inter-token latency, in milliseconds.")
    ] = None,
    data: Annotated[
        Data,
        typer.Option(
            help="Where prompts and answers may be processed; hybrid: anywhere but a hosted API."
        ),
    ] = Data.anywhere,
    budget: Annotated[float | None, typer.Option(min=0, help="Maximum dollars per month.")] = None,
    people: options.People = None,
    cached: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of input tokens that a hosted API bills as cached."),
    ] = 0.0,
    busy: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests in a hosted API's peak hours.")
    ] = 0.5,
    interruptible: Annotated[
        bool, typer.Option("--interruptible", help="Interruptions of the service are acceptable.")
    ] = False,
    prices: options.PricesFile = None,
    as_of: options.AsOf = None,
    choose: Annotated[
        str | None,
        typer.Option(help="Choose this option, such as 'on demand', instead of the cheapest."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--write", help="Write the resource of the chosen option to this new file."),
    ] = None,
    html: options.Html = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
) -> None:
    """Compare one machine, your own cluster, clouds and hosted APIs for MODEL under a load.

    With --task the model is chosen too, by its published scores (deepseek catalog tasks).

    Replicas are sized for the peak, at 80% of their capacity within the latency limits. Without
    --people the price of your own machines excludes staff.

    Exit codes: 1: no option meets the requirements. 2: an option is invalid.
    """
    known, today = options.known_prices(prices), options.day(as_of)
    asked = _task(model, task, least)
    requirements = Requirements(
        "" if asked else _published(str(model)),
        Load(requests, input_tokens, output_tokens, burst, hours),
        ttft=ttft and ttft / 1000,
        itl=itl and itl / 1000,
        data=data.value,
        budget=budget,
        people=people,
        cached=cached,
        busy=busy,
        interruptible=interruptible,
    )
    those = candidates(asked, requirements, known, today, least_of(asked, least)) if asked else []
    if asked:
        requirements = replace(requirements, model_id=those[0].model_id)
    found = those[0].ways if asked else ways(requirements, known, today)
    taken = _taken(found, choose)
    body = (
        resource(taken, requirements, _name(requirements.model_id))
        if taken and taken.shape
        else None
    )
    result = comparison.plain(requirements, found, taken, body, known)
    if asked:
        result["task"] = comparison.models(asked, those, least_of(asked, least))
    if html:
        save(html, html_page(result, by_load(requirements, known, today), today))
    if output is Format.table:
        comparison.page(result)
    else:
        write(as_json(result) if output is Format.json else as_yaml(result))
    if taken is None:
        raise RefusedError(NOTHING, _none(those) if asked else _why_not(found))
    if file:
        _write(file, body)


def _task(model: str | None, task: str | None, least: float | None) -> Task | None:
    """Return the task given by --task; None if a model is given.

    Raises:
        CommandError: Both or neither are given, the task is unknown, or --least lacks a task.
    """
    if (model is None) == (task is None):
        raise CommandError("Give either MODEL or --task.")
    if task is None:
        if least is not None:
            raise CommandError("--least applies only with --task; leave it out with MODEL.")
        return None
    if task not in tasks():
        raise CommandError(f"--task {task}: unknown task. Available tasks: {', '.join(tasks())}.")
    return tasks()[task]


def _none(found: Sequence[Candidate]) -> str:
    return " ".join(f"{each.model_id}: {each.against}." for each in found)


def _published(model: str) -> str:
    """Return the repository of the model, which may be given without its organisation.

    Raises:
        CommandError: The model is unknown.
    """
    for name in models():
        if model.lower() in (name.lower(), name.lower().rpartition("/")[2]):
            return name
    if refusal := model_is_published(Spec.model_validate({"model": {"id": model}})):
        raise CommandError(refusal.message)
    near = models().nearest(f"{models().organisation}/{model.rpartition('/')[2]}")
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    raise CommandError(
        f"{model} is not in the catalogue (deepseek catalog models), so its performance is unknown. "
        f"{hint}Otherwise write a resource and run deepseek plan with --model-config."
    )


def _taken(found: Sequence[Option], choose: str | None) -> Option | None:
    if choose is None:
        return chosen(found)
    for option in found:
        if option.way.lower() == choose.lower():
            return option
    there = ", ".join(option.way for option in found)
    raise CommandError(f"--choose {choose}: unknown option. Available options: {there}.")


def _why_not(found: Sequence[Option]) -> str:
    if not found:
        return (
            "No GPU type with a known price serves the model within this latency, and no hosted API "
            "for it is known. Raise --ttft or --itl, or add prices with --prices."
        )
    return " ".join(f"{option.way}: {option.against}." for option in found)


def _write(file: Path, body: dict[str, Any] | None) -> None:
    if body is None:
        raise CommandError("A hosted API needs no resource: --choose another option to get one.")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(as_yaml(body))
    except FileExistsError as error:
        raise CommandError(
            f"{file} already exists and was not changed: choose another file."
        ) from error
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}.") from error


def _name(model: str) -> str:
    """Return a valid resource name derived from the model's name."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).removeprefix("deepseek-")
    return re.sub(r"^[^a-z]+", "", plain)[:LONGEST].strip("-") or "model"
