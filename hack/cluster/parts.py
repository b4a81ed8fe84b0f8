"""The parts of a cluster, and the programs and packages that each part needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hack.cluster.faults import ClusterError


@dataclass(frozen=True)
class Part:
    """A part that can be requested with `--parts`."""

    what: str
    needs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


PARTS = {
    "api": Part("etcd and the API server", groups=("etcd", "kubernetes")),
    "controllers": Part("controller-manager and scheduler", needs=("api",)),
    "node": Part(
        "a real node: containerd, kubelet, kube-proxy, CoreDNS",
        needs=("controllers",),
        groups=("pods", "coredns"),
    ),
    "registry": Part(
        "an image registry that nodes pull from", needs=("api",), groups=("registry",)
    ),
    "kwok": Part("fake GPU nodes", needs=("controllers",), groups=("kwok",)),
    "lws": Part("the LeaderWorkerSet API", needs=("controllers",), groups=("lws",)),
    "kueue": Part("Kueue, which admits whole replicas", needs=("lws",), groups=("kueue",)),
    "istio": Part(
        "Istio and the Gateway API",
        needs=("node", "registry"),
        groups=("istio", "helm"),
    ),
    "netpol": Part("network policies are enforced", needs=("node",), groups=("netpol",)),
}
DEFAULT = ("node", "registry")


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Return the named parts and their dependencies, in the order of PARTS.

    Raises:
        ClusterError: a part is unknown.
    """
    wanted: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in PARTS:
            known = "\n".join(f"  {part:12} {PARTS[part].what}" for part in PARTS)
            raise ClusterError(f"the cluster has no part {name!r}; there are:\n{known}")
        if name not in wanted:
            wanted.add(name)
            pending.extend(PARTS[name].needs)
    return tuple(name for name in PARTS if name in wanted)


def groups_of(parts: Iterable[str]) -> list[str]:
    """Return the groups that have to be built for these parts."""
    return [group for part in parts for group in PARTS[part].groups]
