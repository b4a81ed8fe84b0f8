"""What there is in a cluster for a resource: its installation, kinds, nodes, and what is free of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from deepseek_operator.cli.assumptions import OFFLINE
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ForbiddenError, NotFoundError
from deepseek_operator.cluster.kinds import NODE, OPTIONAL, POD, RESOURCE
from deepseek_operator.cluster.usage import NodeUsage
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.plan import unread_file
from deepseek_operator.plan.rolling.capacity import Demand, Holder, suits
from deepseek_operator.plan.rolling.headroom import Room, room
from deepseek_operator.plan.state.labels import NAME, SELECTOR
from deepseek_operator.plan.state.observed import NodeView, Observed, PodView
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.workload import is_workload, pod_spec, possible

Object = dict[str, Any]


# What a cluster tells itself.
ASSUMED = (
    "--served and --nodes say what a cluster has that nobody asks: leave them out with --context."
)


@dataclass(frozen=True)
class Present:
    """A resource in its cluster.

    Attributes:
        body: It, with the uid and the status that it has there, if it is there.
        observed: The cluster.
    """

    body: Object
    settings: Settings
    observed: Observed


async def served_kinds(client: Client) -> frozenset[str]:
    """Names of the optional kinds that a cluster has.

    Raises:
        ApiError: It can't be asked.
    """
    answers = await asyncio.gather(*(client.serves(kind) for kind in OPTIONAL))
    return frozenset(kind.called for kind, there in zip(OPTIONAL, answers, strict=True) if there)


async def present(
    client: Client, body: Object, settings: Settings, config: Mapping[str, Any] | None
) -> Present:
    """A resource in its cluster.

    Args:
        client: The cluster.
        body: The resource of a file.
        settings: Of the installation.
        config: The model's config.json, where it was given.

    Raises:
        ApiError: The cluster can't be asked.
    """
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    try:
        live = await client.get(RESOURCE, namespace, name)
    except NotFoundError:
        live = None
    if live is not None:
        kept = {key: live["metadata"][key] for key in ("uid", "generation")}
        body = {**body, "metadata": {**metadata, **kept}, "status": live.get("status") or {}}
    nodes = (await client.list(NODE))[0]
    pods = await client.select(POD, namespace, labels=f"{SELECTOR},{NAME}={name}")
    staying = (pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
    observed = Observed(
        served=await served_kinds(client),
        nodes=tuple(NodeView.of(node) for node in nodes),
        pods=tuple(PodView.of(pod) for pod in staying),
    )
    if file := unread_file(body, settings):
        known = replace(file, content=config) if config else replace(file, problem=OFFLINE)
        observed = replace(observed, config=known)
    return Present(body, settings, observed)


async def room_for(
    client: Client, target: Target, manifests: list[Object], observed: Observed, now: datetime
) -> Room | None:
    """Room for what shall be; None where who holds what may not be seen.

    Args:
        client: The cluster.
        target: What shall be.
        manifests: Of it.
        observed: The cluster.
        now: The time.

    Raises:
        ApiError: The cluster can't be asked.
    """
    workload = next(child for child in manifests if is_workload(child))
    try:
        demand = Demand.of(pod_spec(workload))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None  # podTemplate is no PodSpec, which the API server will say
    nodes = [node for node in observed.nodes if suits(node, demand)]
    usage: dict[str, tuple[Holder, ...]] = {}
    try:
        async for some in NodeUsage(client).batches([node.name for node in nodes], 0.0):
            usage |= some
    except ForbiddenError:
        return None
    wanted = target.scaling.min_replicas if target.scaling else target.replicas
    found = room(demand, nodes, usage, observed, target.rollout, wanted, target.pods, now)
    return replace(found, step=found.step and possible(workload, wanted, found.step))
