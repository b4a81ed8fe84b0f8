"""Reachability table: the combined effect of all policies of a model.

It is derived from the plan and not from the policies; a test checks the policies against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_operator.plan.desired.desired_state import PORT, DesiredState
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.traffic.authorization import (
    API_PATHS,
    CONTROL_PORT,
    STATUS_PORT,
    AuthorizationPlan,
    Caller,
)

ANYTHING = ("*",)
# Paths of the model server that need no API key.
FREE = ("/metrics", "/health/*")
CERTIFICATE, TOKEN, KEY = "certificate of the mesh", "token", "API key"


@dataclass(frozen=True)
class Reach:
    """One allowed connection.

    Attributes:
        who: The peer, as text.
        namespace: Namespace of the peer's pods; None: no pod, or any.
        accounts: Service accounts of the peer; empty allows all.
        port: TCP port; None: any.
        paths: Allowed paths; a trailing `*` is a wildcard.
        proofs: Required credentials.
    """

    who: str
    namespace: str | None = None
    accounts: tuple[str, ...] = ()
    port: int | None = PORT
    paths: tuple[str, ...] = ANYTHING
    proofs: tuple[str, ...] = ()


def incoming(desired: DesiredState, settings: Settings) -> list[Reach]:
    """Return the peers that can reach the pods that serve requests.

    Everything else is denied by the NetworkPolicy, if the cluster's network enforces it, and with
    STRICT mTLS by the sidecars as well.
    """
    own, authorization = desired.resource.namespace, desired.authorization
    rows = [
        row
        for caller in authorization.callers
        for row in _caller(caller, own, authorization, desired)
    ]
    rows += _watchers(desired, settings)
    if desired.pods > 1:
        rows.append(Reach("the other pods of the model", own, port=None))
    rows.append(Reach("the node of the pod (probes, kubectl port-forward)", port=None))
    return rows


def outgoing(desired: DesiredState) -> list[Reach]:
    """Return the destinations that the pods can reach."""
    rows = [Reach("the DNS", port=port) for port in (53, 5353)]
    if desired.pods > 1:
        rows.append(Reach("the other pods of the model", desired.resource.namespace, port=None))
    for destination in desired.network.destinations:
        who = (
            "istiod"
            if destination.port == CONTROL_PORT
            else "the source of the weights, or a proxy"
        )
        rows.append(Reach(who, destination.namespace, port=destination.port))
    return rows


def table(rows: list[Reach]) -> str:
    """Format rows as an aligned text table."""
    cells = [("WHO", "PORT", "WHAT", "PROOF")]
    cells += [
        (
            row.who,
            "any" if row.port is None else str(row.port),
            "anything" if row.paths == ANYTHING else ", ".join(row.paths),
            ", ".join(row.proofs) or "none",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _caller(
    caller: Caller, own: str, authorization: AuthorizationPlan, desired: DesiredState
) -> Iterator[Reach]:
    namespace = caller.namespace or own
    who = f"pods of namespace {namespace}"
    if caller.accounts:
        who = f"service account {', '.join(caller.accounts)} of namespace {namespace}"
    elif desired.routing and namespace in desired.routing.pods_namespaces:
        who += ", the gateway's"
    proofs = tuple(_proofs(authorization))
    if authorization.policies or authorization.keys:
        yield Reach(who, namespace, caller.accounts, paths=API_PATHS, proofs=proofs)
    if not authorization.policies:
        # The model server requires API keys only for inference.
        yield Reach(who, namespace, caller.accounts, paths=FREE if authorization.keys else ANYTHING)


def _proofs(authorization: AuthorizationPlan) -> Iterator[str]:
    if authorization.policies:
        yield CERTIFICATE
    if authorization.policies and authorization.token:
        yield TOKEN
    if authorization.keys:
        yield KEY


def _watchers(desired: DesiredState, settings: Settings) -> Iterator[Reach]:
    """Yield the connections of operator and monitoring, to the sidecars in a mesh."""
    meshed = desired.authorization.meshed
    operator, monitoring = settings.namespace, settings.monitoring_namespace
    if operator and not desired.authorization.policies:
        yield Reach(f"the operator in namespace {operator}", operator)
    if operator and meshed:
        yield Reach(f"the operator in namespace {operator}", operator, port=STATUS_PORT)
    if monitoring and desired.pod_monitor is not None:
        port = STATUS_PORT if meshed else PORT
        yield Reach(f"monitoring in namespace {monitoring}", monitoring, port=port)
