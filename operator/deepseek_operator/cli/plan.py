"""`deepseek plan`: what a resource comes to, before anything is created."""

from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from deepseek_operator.cli import options, resource
from deepseek_operator.cli.assumed import cluster
from deepseek_operator.cli.errors import RefusedError
from deepseek_operator.cli.installation import installation
from deepseek_operator.cli.output import Format, as_json, as_yaml, write
from deepseek_operator.cli.page import page
from deepseek_operator.cli.said import plain
from deepseek_operator.plan.checks import Refusal
from deepseek_operator.plan.fresh import fresh
from deepseek_operator.plan.load import Load
from deepseek_operator.plan.proposal import propose
from deepseek_operator.render.fresh import manifests


def plan(
    file: options.File,
    namespace: options.Namespace = None,
    served: options.Served = None,
    nodes: options.Nodes = None,
    model_config: options.ModelConfig = None,
    values: options.Values = None,
    operator_namespace: options.OperatorNamespace = "deepseek-system",
    requests: options.Requests = 0.0,
    input_tokens: options.Input = 512,
    output_tokens: options.Output = 128,
    burst: options.Burst = 2.0,
    hours: options.Hours = 24.0,
    prices: options.PricesFile = None,
    people: options.People = None,
    as_of: options.AsOf = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="How it is written.")
    ] = Format.table,
) -> None:
    """Say what FILE comes to: does it fit, how fast will it be, what does it cost, who can reach it.

    Nothing is created and no cluster is asked.

    Exit code 1: the operator would refuse it, in the same words. 2: FILE or an option can't be used.
    """
    settings = installation(values, None, operator_namespace)
    known, today = options.known_prices(prices), options.day(as_of)
    body = resource.one(file, namespace)
    observed = cluster(body, settings, served, nodes, model_config)
    now = datetime.now(UTC)
    sets = fresh(body, settings, observed, now)
    if isinstance(sets, Refusal):
        _refused(sets, output)
    load = Load(requests, input_tokens, output_tokens, burst, hours)
    found = propose(sets.lead, observed, load, known, today, people)
    said = plain(found, manifests(sets, now), settings)
    if output is Format.table:
        page(said)
    else:
        write(as_json(said) if output is Format.json else as_yaml(said))


def _refused(refusal: Refusal, output: Format) -> NoReturn:
    """Say why in the operator's words, to programs too.

    Raises:
        RefusedError: Always.
    """
    said: dict[str, Any] = {"accepted": False, "reason": refusal.reason, "message": refusal.message}
    if output is not Format.table:
        write(as_json(said) if output is Format.json else as_yaml(said))
    raise RefusedError(refusal.reason, refusal.message)
