"""The cluster for tests, images and the demo, selected by the environment variable DSO_CLUSTER."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from hack.cluster import parts
from hack.cluster.current import CurrentCluster
from hack.cluster.embedded import DEFAULT_STATE, EmbeddedCluster
from hack.cluster.faults import ClusterError
from hack.cluster.kind import KindCluster
from hack.cluster.machine.store import DEFAULT_STORE


class Target(Protocol):
    """The interface of all kinds of clusters."""

    @property
    def kind(self) -> str:
        """One of embedded, kind and current."""

    @property
    def registry_name(self) -> str:
        """The registry in the image references of pods; empty if there is none."""

    @property
    def kind_cluster(self) -> str:
        """Name of the kind cluster, for `kind load`; empty for other clusters."""

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""

    @property
    def kubectl(self) -> Path:
        """A compatible kubectl."""

    @property
    def helm(self) -> Path:
        """Helm 3."""

    @property
    def registry_push_host(self) -> str:
        """Address to which the host pushes images; empty if there is no registry."""

    def is_up(self) -> bool:
        """Return whether the cluster answers and is complete."""

    def describe(self) -> list[str]:
        """Return lines that describe its state."""

    def up(
        self,
        wanted: Iterable[str] = parts.DEFAULT,
        *,
        gpus: int | None = None,
        kwok_nodes: int | None = None,
        egress: bool = False,
        lifeline: bool = False,
    ) -> bool:
        """Start or complete the cluster; return whether it was started."""

    def down(self) -> None:
        """Stop the cluster."""


def open_target(*, state: Path = DEFAULT_STATE, store: str = DEFAULT_STORE) -> Target:
    """Return the cluster that DSO_CLUSTER names, without starting it.

    Args:
        state: directory of an embedded or kind cluster.
        store: image store of an embedded cluster.

    Raises:
        ClusterError: DSO_CLUSTER is none of embedded, kind, current, or something is missing.
    """
    wish = os.environ.get("DSO_CLUSTER", "")
    name = choose(wish, docker=docker_answers, kind=shutil.which("kind") is not None)
    if name == "kind":
        return KindCluster(state)
    if name == "current":
        return CurrentCluster()
    return EmbeddedCluster(state, store)


def choose(wish: str, *, docker: Callable[[], bool], kind: bool) -> str:
    """Select one of embedded, kind and current.

    Args:
        wish: the requested kind; empty for the one that fits this machine.
        docker: returns whether a Docker engine answers; called only if needed.
        kind: whether the program kind is installed.

    Raises:
        ClusterError: the requested kind is unknown or not available on this machine.
    """
    if wish in ("embedded", "current"):
        return wish
    if wish == "kind":
        lacking = [
            *([] if kind else ["the program kind on PATH (https://kind.sigs.k8s.io)"]),
            *([] if docker() else ["a Docker engine that answers `docker info`"]),
        ]
        if lacking:
            raise ClusterError(
                f"CLUSTER=kind needs {' and '.join(lacking)}; "
                "CLUSTER=embedded needs neither, on Linux as root"
            )
        return "kind"
    if wish:
        raise ClusterError(f"CLUSTER={wish} is unknown: use embedded, kind or current")
    return "kind" if kind and docker() else "embedded"


def docker_answers() -> bool:
    """Return whether a Docker engine is reachable."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0
