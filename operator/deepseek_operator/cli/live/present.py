"""The state of a cluster for a resource: settings, kinds, nodes, pods and free capacity."""

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
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import unread_file
from deepseek_operator.plan.rolling.capacity import Demand, Holder, is_suitable
from deepseek_operator.plan.rolling.headroom import Headroom, headroom
from deepseek_operator.plan.state.labels import NAME, SELECTOR
from deepseek_operator.plan.state.observed import NodeView, Observed, PodView
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.workload import is_workload, pod_spec, possible

Object = dict[str, Any]


# Options that conflict with a query.
ASSUMED = (
    "--served and --nodes describe a cluster that is not queried: leave them out with --context."
)


@dataclass(frozen=True)
class Present:
    """A resource and the state of its cluster.

    Attributes:
        body: The resource, with its UID and status from the cluster if it exists there.
        settings: Settings of the operator.
        observed: State of the cluster.
    """

    body: Object
    settings: Settings
    observed: Observed


async def served_kinds(client: Client) -> frozenset[str]:
    """Return the names of the optional kinds that a cluster serves.

    Raises:
        ApiError: The cluster can't be queried.
    """
    answers = await asyncio.gather(*(client.serves(kind) for kind in OPTIONAL))
    return frozenset(kind.called for kind, there in zip(OPTIONAL, answers, strict=True) if there)


async def present(
    client: Client, body: Object, settings: Settings, config: Mapping[str, Any] | None
) -> Present:
    """Read the state of the cluster for a resource.

    Args:
        client: The cluster.
        body: The resource from a file.
        settings: Settings of the operator.
        config: The model's config.json, if given.

    Raises:
        ApiError: The cluster can't be queried.
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
    client: Client,
    desired: DesiredState,
    manifests: list[Object],
    observed: Observed,
    now: datetime,
) -> Headroom | None:
    """Return the free capacity for the desired state; None if usage can't be read or podTemplate is invalid.

    Args:
        client: The cluster.
        desired: The desired state.
        manifests: Its child manifests.
        observed: State of the cluster.
        now: The current time.

    Raises:
        ApiError: The cluster can't be queried.
    """
    workload = next(child for child in manifests if is_workload(child))
    try:
        demand = Demand.of(pod_spec(workload))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None  # podTemplate is not a valid PodSpec, which the API server reports
    nodes = [node for node in observed.nodes if is_suitable(node, demand)]
    usage: dict[str, tuple[Holder, ...]] = {}
    try:
        async for some in NodeUsage(client).batches([node.name for node in nodes], 0.0):
            usage |= some
    except ForbiddenError:
        return None
    wanted = desired.scaling.min_replicas if desired.scaling else desired.replicas
    found = headroom(demand, nodes, usage, observed, desired.rollout, wanted, desired.pods, now)
    return replace(found, step=found.step and possible(workload, wanted, found.step))
