"""The cluster of kubectl's current context: used as it is, neither started nor stopped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hack.cluster import parts
from hack.cluster.faults import ClusterError
from hack.cluster.progress import say
from hack.cluster.tools import tool


class CurrentCluster:
    """An existing cluster; images have to be in a registry that its nodes can pull from."""

    kind = "current"
    kind_cluster = ""

    @property
    def registry_name(self) -> str:
        """IMAGE_REGISTRY, to which this machine can push and from which the nodes can pull."""
        return os.environ.get("IMAGE_REGISTRY", "").rstrip("/")

    @property
    def registry_push_host(self) -> str:
        """The same registry, for pushing."""
        return self.registry_name

    @property
    def kubeconfig(self) -> Path:
        """The first file of KUBECONFIG, or kubectl's default."""
        first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        return Path(first or "~/.kube/config").expanduser()

    @property
    def kubectl(self) -> Path:
        """Kubectl on PATH, or one that is built."""
        return tool("kubectl")

    @property
    def helm(self) -> Path:
        """Helm on PATH, or one that is built."""
        return tool("helm")

    def is_up(self) -> bool:
        """Return whether its API server answers."""
        if not self.kubeconfig.exists():
            return False
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", "get", "--raw", "/readyz"]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    def describe(self) -> list[str]:
        """Return lines that describe its state."""
        answer = "answers" if self.is_up() else "does not answer"
        return [f"the current context of {self.kubeconfig} {answer}"]

    def up(
        self,
        wanted: Iterable[str] = parts.DEFAULT,
        *,
        gpus: int | None = None,
        kwok_nodes: int | None = None,
        egress: bool = False,
        lifeline: bool = False,
    ) -> bool:
        """Check that the API server answers.

        Raises:
            ClusterError: the API server does not answer.
        """
        if not self.is_up():
            raise ClusterError(
                f"CLUSTER=current: the API server of the current context of {self.kubeconfig} "
                "does not answer (kubectl get --raw /readyz)"
            )
        return False

    def down(self) -> None:
        """Leave the cluster as it is."""
        say("CLUSTER=current: an existing cluster is not stopped")
