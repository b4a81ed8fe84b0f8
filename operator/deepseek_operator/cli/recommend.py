"""`deepseek recommend`: which way to run a model, from its load."""

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
from deepseek_operator.advisor.provisioning import Wish
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
# Names of resources have no more characters.
LONGEST = 52


class Data(StrEnum):
    """Where prompts and answers may be."""

    anywhere = "anywhere"
    cloud = "cloud"
    hybrid = "hybrid"
    on_premises = "on-premises"


def recommend(
    model: Annotated[
        str | None, typer.Argument(help="Repository of the model; or --task.", metavar="[MODEL]")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help=f"In place of MODEL what it is to do: {', '.join(tasks())}. The cheapest model is "
            "taken of those that do it well enough."
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help=f"Score that a model of --task has to reach. Default: {SHARE:.0%} of the best.",
        ),
    ] = None,
    requests: Annotated[
        float, typer.Option(min=0.000001, help="Requests in a second, on average.")
    ] = 1.0,
    input_tokens: options.Input = 512,
    output_tokens: options.Output = 128,
    burst: options.Burst = 2.0,
    hours: options.Hours = 24.0,
    ttft: Annotated[
        float | None, typer.Option(min=1, help="Milliseconds to the first token at most.")
    ] = None,
    itl: Annotated[
        float | None, typer.Option(min=0.1, help="Milliseconds between two tokens at most.")
    ] = None,
    data: Annotated[
        Data,
        typer.Option(
            help="Where prompts and answers may be; hybrid: with nobody who serves others."
        ),
    ] = Data.anywhere,
    budget: Annotated[float | None, typer.Option(min=0, help="Dollars of a month at most.")] = None,
    people: options.People = None,
    cached: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of prompts that a hosted API has in its cache."),
    ] = 0.0,
    busy: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests in a hosted API's dearer hours.")
    ] = 0.5,
    interruptible: Annotated[
        bool, typer.Option("--interruptible", help="Nobody minds when nothing serves for a while.")
    ] = False,
    prices: options.PricesFile = None,
    as_of: options.AsOf = None,
    choose: Annotated[
        str | None,
        typer.Option(help="Take this way, such as 'on demand', in place of the cheapest."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--write", help="Write the resource of the chosen way to this file."),
    ] = None,
    html: options.Html = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="How it is written.")
    ] = Format.table,
) -> None:
    """Compare one machine, a cluster of your own, a cloud and a hosted API for MODEL under a load.

    With --task the model is chosen too, by what its makers have published (deepseek catalog tasks).

    Replicas are for the peak, at four fifths of what they can do within the latency. Without --people
    a machine of your own is told without those who run it.

    Exit code 1: nothing suits. 2: an option can't be used.
    """
    known, today = options.known_prices(prices), options.day(as_of)
    asked = _task(model, task, least)
    wish = Wish(
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
    those = candidates(asked, wish, known, today, least_of(asked, least)) if asked else []
    if asked:
        wish = replace(wish, model_id=those[0].model_id)
    found = those[0].ways if asked else ways(wish, known, today)
    taken = _taken(found, choose)
    body = resource(taken, wish, _name(wish.model_id)) if taken and taken.shape else None
    said = comparison.plain(wish, found, taken, body, known)
    if asked:
        said["task"] = comparison.models(asked, those, least_of(asked, least))
    if html:
        save(html, html_page(said, by_load(wish, known, today), today))
    if output is Format.table:
        comparison.page(said)
    else:
        write(as_json(said) if output is Format.json else as_yaml(said))
    if taken is None:
        raise RefusedError(NOTHING, _none(those) if asked else _why_not(found))
    if file:
        _write(file, body)


def _task(model: str | None, task: str | None, least: float | None) -> Task | None:
    """The task that is asked for; None: a model is.

    Raises:
        CommandError: Both are, or neither, or nobody knows the task.
    """
    if (model is None) == (task is None):
        raise CommandError("Give either MODEL or --task, what a model is to do.")
    if task is None:
        if least is not None:
            raise CommandError("--least is of a --task: MODEL is the one that is taken.")
        return None
    if task not in tasks():
        raise CommandError(
            f"--task {task}: there is no such task. There are: {', '.join(tasks())}."
        )
    return tasks()[task]


def _none(found: Sequence[Candidate]) -> str:
    return " ".join(f"{each.model_id}: {each.against}." for each in found)


def _published(model: str) -> str:
    """The repository that is meant.

    Raises:
        CommandError: Nobody knows the model.
    """
    for name in models():
        if model.lower() in (name.lower(), name.lower().rpartition("/")[2]):
            return name
    if refusal := model_is_published(Spec.model_validate({"model": {"id": model}})):
        raise CommandError(refusal.message)
    near = models().nearest(f"{models().organisation}/{model.rpartition('/')[2]}")
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    raise CommandError(
        f"{model} is not in the catalogue (deepseek catalog models), so its speed is not known. {hint}"
        "Else write a resource and ask deepseek plan with --model-config."
    )


def _taken(found: Sequence[Option], choose: str | None) -> Option | None:
    if choose is None:
        return chosen(found)
    for option in found:
        if option.way.lower() == choose.lower():
            return option
    there = ", ".join(option.way for option in found)
    raise CommandError(f"--choose {choose}: there is no such way. There are: {there}.")


def _why_not(found: Sequence[Option]) -> str:
    if not found:
        return (
            "No kind of GPU with a price holds the model within this latency, and nobody is known to "
            "serve it. Allow more time, or give prices with --prices."
        )
    return " ".join(f"{option.way}: {option.against}." for option in found)


def _write(file: Path, body: dict[str, Any] | None) -> None:
    if body is None:
        raise CommandError("A hosted API takes no resource: --choose another way to have one.")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(as_yaml(body))
    except FileExistsError as error:
        raise CommandError(f"{file} is there already; it was left alone.") from error
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}.") from error


def _name(model: str) -> str:
    """A name for the resource, of the letters that one may have."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).removeprefix("deepseek-")
    return re.sub(r"^[^a-z]+", "", plain)[:LONGEST].strip("-") or "model"
