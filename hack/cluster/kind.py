"""A cluster by kind, where a Docker engine answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hack.cluster import parts
from hack.cluster.components.node import NODES
from hack.cluster.faults import ClusterError
from hack.cluster.progress import say, step
from hack.cluster.tools import tool

NAME = "deepseek-operator"
DEFAULT_GPUS = 4
# What kind itself cannot give.
MISSING_PARTS = {"kwok", "lws", "kueue", "istio", "netpol"}


class KindCluster:
    """One kind node that claims GPUs; images are loaded from the Docker engine."""

    kind = "kind"
    kind_cluster = NAME
    registry_name = ""
    registry_push_host = ""

    def __init__(self, state: Path) -> None:
        """Take the directory that gets the kubeconfig."""
        self._state = state.absolute()

    @property
    def kubeconfig(self) -> Path:
        """For the cluster's administrator."""
        return self._state / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """kubectl on PATH, or one that is built."""
        return tool("kubectl")

    @property
    def helm(self) -> Path:
        """Helm on PATH, or one that is built."""
        return tool("helm")

    def is_up(self) -> bool:
        """Whether kind knows the cluster and its API server answers."""
        if not self.kubeconfig.exists():
            return False
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz"]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    def describe(self) -> list[str]:
        """Lines about its state, for people."""
        if not self.is_up():
            return [f"kind has no cluster {NAME} that answers"]
        return [f"kind cluster {NAME}", f"kubeconfig  {self.kubeconfig}"]

    def up(
        self,
        wanted: Iterable[str] = parts.DEFAULT,
        *,
        gpus: int | None = None,
        kwok_nodes: int | None = None,
        egress: bool = True,
        lifeline: bool = False,
    ) -> bool:
        """Create the cluster if there is none, and advertise GPUs on its node.

        Raises:
            ClusterError: kind failed, or a part is asked for that only the embedded cluster has.
        """
        lacking = MISSING_PARTS.intersection([*wanted, *(["kwok"] if kwok_nodes else [])])
        if lacking:
            raise ClusterError(f"CLUSTER=kind has no {', '.join(lacking)}: use CLUSTER=embedded")
        created = not self.is_up()
        if created:
            self._state.mkdir(parents=True, exist_ok=True)
            with step("creating a kind cluster"):
                # Of a killed run something may be left that kind refuses to build upon.
                self._kind("delete", "cluster", "--name", NAME)
                where = ("--name", NAME, "--kubeconfig", str(self.kubeconfig), "--wait", "120s")
                self._kind("create", "cluster", *where)
        else:
            say("the kind cluster is up already")
        if created or gpus is not None:
            self._advertise(DEFAULT_GPUS if gpus is None else gpus)
        return created

    def down(self) -> None:
        """Delete the cluster."""
        self._kind("delete", "cluster", "--name", NAME)
        self.kubeconfig.unlink(missing_ok=True)

    def _advertise(self, gpus: int) -> None:
        count = {NODES["gpu_resource"]: str(gpus)}
        status = {"status": {"capacity": count, "allocatable": count}}
        labels = {"metadata": {"labels": NODES["real"]["labels"]}}
        node = f"{NAME}-control-plane"
        for patch, target in ((status, ["--subresource=status"]), (labels, [])):
            arguments = ["patch", "node", node, "--type=merge", f"--patch={json.dumps(patch)}"]
            _run(str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *arguments, *target)

    def _kind(self, *arguments: str) -> None:
        _run("kind", *arguments)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {result.stderr.strip()}")
