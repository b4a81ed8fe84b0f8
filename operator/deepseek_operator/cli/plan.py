"""`deepseek plan`: fit, performance, cost and network access of a resource before it is created."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from deepseek_operator.advisor.cost_curves import curves
from deepseek_operator.advisor.proposal import propose
from deepseek_operator.advisor.workload import Load
from deepseek_operator.cli import options, resource
from deepseek_operator.cli.assumptions import OFFLINE, cluster
from deepseek_operator.cli.documents import mapping
from deepseek_operator.cli.errors import DIFFERENT, CommandError, RefusedError
from deepseek_operator.cli.html.plan import page as html_page
from deepseek_operator.cli.installation import installation
from deepseek_operator.cli.live import difference
from deepseek_operator.cli.live.ask import CURRENT, ask
from deepseek_operator.cli.live.dry_run import Change, KnownConfig, dry_run
from deepseek_operator.cli.live.installed import Installing
from deepseek_operator.cli.live.present import ASSUMED, Present, present, room_for, served_kinds
from deepseek_operator.cli.output import Format, save, write, written
from deepseek_operator.cli.page import page
from deepseek_operator.cli.plan_data import headroom_data, plain
from deepseek_operator.cluster.client import Client
from deepseek_operator.plan.initial import fresh
from deepseek_operator.plan.progressive.pod_sets import PodSets
from deepseek_operator.plan.rolling.headroom import Headroom
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.render.fresh import manifests

Object = dict[str, Any]


@dataclass(frozen=True)
class Decided:
    """The operator's decision for a resource.

    Attributes:
        there: The resource and the cluster that it was decided for.
        sets: The desired pod sets, or the refusal.
        room: Free capacity for its replicas; None if no cluster was queried or usage can't be read.
        asked: Whether a cluster was queried.
    """

    there: Present
    sets: PodSets | Refusal
    room: Headroom | None = None
    asked: bool = False


def plan(
    file: options.File,
    namespace: options.Namespace = None,
    context: options.Context = None,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            help="Show the changes that the operator would make in the cluster (dry run).",
        ),
    ] = False,
    served: options.Served = None,
    nodes: options.Nodes = None,
    model_config: options.ModelConfig = None,
    values: options.Values = None,
    server_image: options.Image = None,
    operator_namespace: options.OperatorNamespace = None,
    requests: options.Requests = 0.0,
    input_tokens: options.Input = 512,
    output_tokens: options.Output = 128,
    burst: options.Burst = 2.0,
    hours: options.Hours = 24.0,
    prices: options.PricesFile = None,
    people: options.People = None,
    as_of: options.AsOf = None,
    html: options.Html = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="Output format.")] = Format.table,
) -> None:
    """Show whether FILE fits, its performance and cost, and who can reach it.

    Nothing is created. A cluster is queried only with --context or --diff.

    Exit codes: 1: the operator would reject FILE, with the same message. 2: FILE or an option is
    invalid. 3: --diff found differences. 4: the cluster can't be reached or denies access.
    """
    known, today = options.known_prices(prices), options.day(as_of)
    body = resource.one(file, namespace)
    now = datetime.now(UTC)
    installing = Installing(values, server_image, operator_namespace)
    if (context or diff) and (served or nodes):
        raise CommandError(ASSUMED)
    config = mapping(model_config) if model_config else None
    if diff:
        _show(_different(context or CURRENT, body, installing, config, output), output)
        return
    if context:
        decided = ask(context, lambda client: _asked(client, body, installing, config, now))
    else:
        settings = installation(values, server_image, operator_namespace)
        observed = cluster(body, settings, served, nodes, model_config)
        there = Present(body, settings, observed)
        decided = Decided(there, fresh(body, settings, observed, now))
    if isinstance(decided.sets, Refusal):
        _refused(decided.sets.reason, decided.sets.message, output)
    load = Load(requests, input_tokens, output_tokens, burst, hours)
    there = decided.there
    found = propose(decided.sets.active, there.observed, load, known, today, people)
    written_status = plain(found, manifests(decided.sets, now), there.settings)
    if decided.asked:
        written_status["room"] = headroom_data(decided.room)
    if html:
        save(html, html_page(written_status, curves(found, known, today, people), today))
    if output is Format.table:
        page(written_status)
    else:
        write(written(written_status, output))


async def _asked(
    client: Client,
    body: Object,
    installing: Installing,
    config: Mapping[str, Any] | None,
    now: datetime,
) -> Decided:
    """Return the operator's decision for a resource in its cluster."""
    there = await present(client, body, await installing.settings(client), config)
    sets = fresh(there.body, there.settings, there.observed, now)
    room = None
    if not isinstance(sets, Refusal):
        room = await room_for(client, sets.active, manifests(sets, now), there.observed, now)
    return Decided(there, sets, room, asked=True)


def _different(
    context: str,
    body: Object,
    installing: Installing,
    config: Mapping[str, Any] | None,
    output: Format,
) -> list[Change]:
    async def tried(client: Client) -> list[Change]:
        settings, served = await installing.settings(client), await served_kinds(client)
        return await dry_run(client, body, settings, served, KnownConfig(config, OFFLINE))

    try:
        return ask(context, tried)
    except RefusedError as error:
        _refused(error.reason, error.message, output)


def _show(changes: list[Change], output: Format) -> None:
    if output is Format.table:
        write("".join(difference.unified(change) for change in changes))
    else:
        write(written(difference.listed(changes), output))
    if changes:
        raise typer.Exit(DIFFERENT)


def _refused(reason: str, message: str, output: Format) -> NoReturn:
    """Report a refusal with the operator's reason and message, also as JSON or YAML.

    Raises:
        RefusedError: Always.
    """
    written_status: Object = {"accepted": False, "reason": reason, "message": message}
    if output is not Format.table:
        write(written(written_status, output))
    raise RefusedError(reason, message)
