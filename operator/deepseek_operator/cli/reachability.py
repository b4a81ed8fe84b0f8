"""Reachability table: the combined effect of all policies of a model.

It is derived from the plan and not from the policies; a test checks the policies against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_operator.plan.desired.desired_state import PORT, Target
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.traffic.authorization import (
    API_PATHS,
    CONTROL_PORT,
    STATUS_PORT,
    Caller,
    Trust,
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


def incoming(target: Target, settings: Settings) -> list[Reach]:
    """Return the peers that can reach the pods that serve requests.

    Everything else is denied by the NetworkPolicy, if the cluster's network enforces it, and with
    STRICT mTLS by the sidecars as well.
    """
    own, trust = target.resource.namespace, target.trust
    rows = [row for caller in trust.callers for row in _caller(caller, own, trust, target)]
    rows += _watchers(target, settings)
    if target.pods > 1:
        rows.append(Reach("the other pods of the model", own, port=None))
    rows.append(Reach("the node of the pod (probes, kubectl port-forward)", port=None))
    return rows


def outgoing(target: Target) -> list[Reach]:
    """Return the destinations that the pods can reach."""
    rows = [Reach("the DNS", port=port) for port in (53, 5353)]
    if target.pods > 1:
        rows.append(Reach("the other pods of the model", target.resource.namespace, port=None))
    for place in target.network.destinations:
        who = "istiod" if place.port == CONTROL_PORT else "the source of the weights, or a proxy"
        rows.append(Reach(who, place.namespace, port=place.port))
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


def _caller(caller: Caller, own: str, trust: Trust, target: Target) -> Iterator[Reach]:
    namespace = caller.namespace or own
    who = f"pods of namespace {namespace}"
    if caller.accounts:
        who = f"service account {', '.join(caller.accounts)} of namespace {namespace}"
    elif target.ways and namespace in target.ways.pods_namespaces:
        who += ", the gateway's"
    proofs = tuple(_proofs(trust))
    if trust.policies or trust.keys:
        yield Reach(who, namespace, caller.accounts, paths=API_PATHS, proofs=proofs)
    if not trust.policies:
        # The model server requires API keys only for inference.
        yield Reach(who, namespace, caller.accounts, paths=FREE if trust.keys else ANYTHING)


def _proofs(trust: Trust) -> Iterator[str]:
    if trust.policies:
        yield CERTIFICATE
    if trust.policies and trust.token:
        yield TOKEN
    if trust.keys:
        yield KEY


def _watchers(target: Target, settings: Settings) -> Iterator[Reach]:
    """Yield the connections of operator and monitoring, to the sidecars in a mesh."""
    meshed = target.trust.meshed
    operator, monitoring = settings.namespace, settings.monitoring_namespace
    if operator and not target.trust.policies:
        yield Reach(f"the operator in namespace {operator}", operator)
    if operator and meshed:
        yield Reach(f"the operator in namespace {operator}", operator, port=STATUS_PORT)
    if monitoring and target.pod_monitor is not None:
        port = STATUS_PORT if meshed else PORT
        yield Reach(f"monitoring in namespace {monitoring}", monitoring, port=port)
