"""Cluster state and logs for the report of a failing test, collected before the cluster is deleted."""

from __future__ import annotations

from hack.cluster.embedded import EmbeddedCluster
from hack.cluster.faults import ClusterError
from hack.cluster.install import NAMESPACE, RELEASE
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target

LINES = 60
GATEWAYS = "gateway.networking.k8s.io/gateway-name"
# Title and kubectl command.
QUESTIONS = {
    "resources": ("get", "dsd", "--all-namespaces"),
    "nodes": ("get", "nodes", "--output=wide"),
    "pods": ("get", "pods", "--all-namespaces", "--output=wide"),
    "events": ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"),
    "operator": (
        *("logs", f"--namespace={NAMESPACE}", f"--selector=app.kubernetes.io/instance={RELEASE}"),
        *(f"--tail={LINES}", "--prefix"),
    ),
}
# Programs that run as processes here, not as pods.
PROGRAMS = ("istiod", "kube-router", "lws", "kueue")


def evidence(target: Target) -> list[tuple[str, str]]:
    """Return titles and texts about a cluster; a failed query is replaced by its error."""
    found = [(title, _run(target, *command)) for title, command in QUESTIONS.items()]
    found += [(f"gateway {name}", text) for name, text in _gateways(target)]
    if isinstance(target, EmbeddedCluster):
        for program in PROGRAMS:
            log = target.logs / f"{program}.log"
            if log.exists():
                found.append((program, _last(log.read_text(errors="replace"))))
    return found


def _gateways(target: Target) -> list[tuple[str, str]]:
    """Return the names and logs of the gateways that Istio has created."""
    where = "{range .items[*]}{.metadata.namespace} {.metadata.name}{'\\n'}{end}"
    names = _run(
        target,
        "get",
        "pods",
        "--all-namespaces",
        f"--selector={GATEWAYS}",
        f"--output=jsonpath={where}",
    )
    pairs = [line.split() for line in names.splitlines() if len(line.split()) == 2]
    return [
        (name, _run(target, "logs", f"--namespace={namespace}", name, f"--tail={LINES}"))
        for namespace, name in pairs
    ]


def _run(target: Target, *command: str) -> str:
    try:
        return _last(kubectl(target, *command))
    except ClusterError as error:
        return str(error)


def _last(text: str) -> str:
    return "\n".join(text.splitlines()[-LINES:])
