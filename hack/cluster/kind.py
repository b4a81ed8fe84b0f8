"""A kind cluster, for machines with a Docker engine."""

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
# Parts that kind does not support.
MISSING_PARTS = {"kwok", "lws", "kueue", "istio", "netpol"}


class KindCluster:
    """A kind node that advertises GPUs; images are loaded from the Docker engine."""

    kind = "kind"
    kind_cluster = NAME
    registry_name = ""
    registry_push_host = ""

    def __init__(self, state: Path) -> None:
        """Set the directory of the kubeconfig."""
        self._state = state.absolute()

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""
        return self._state / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """Kubectl on PATH, or a built one."""
        return tool("kubectl")

    @property
    def helm(self) -> Path:
        """Helm on PATH, or a built one."""
        return tool("helm")

    def is_up(self) -> bool:
        """Return whether kind has the cluster and its API server answers."""
        if not self.kubeconfig.exists():
            return False
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz"]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    def describe(self) -> list[str]:
        """Return lines that describe its state."""
        if not self.is_up():
            return [f"there is no kind cluster {NAME} that answers"]
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
        """Create the cluster if it is missing, and advertise GPUs on its node.

        Raises:
            ClusterError: kind failed, or a requested part exists only in the embedded cluster.
        """
        lacking = MISSING_PARTS.intersection([*wanted, *(["kwok"] if kwok_nodes else [])])
        if lacking:
            raise ClusterError(f"CLUSTER=kind has no {', '.join(lacking)}: use CLUSTER=embedded")
        created = not self.is_up()
        if created:
            self._state.mkdir(parents=True, exist_ok=True)
            with step("creating a kind cluster"):
                # kind refuses to create a cluster over the remains of a killed run.
                self._kind("delete", "cluster", "--name", NAME)
                where = ("--name", NAME, "--kubeconfig", str(self.kubeconfig), "--wait", "120s")
                self._kind("create", "cluster", *where)
        else:
            say("the kind cluster is already running")
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
