"""The installed operator: its images, its log, and its restart."""

from __future__ import annotations

from dataclasses import dataclass

from hack.cluster.images.build import Images
from hack.cluster.install import NAMESPACE, RELEASE
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target

# The repository that the fake hub serves.
REPOSITORY = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"


@dataclass(frozen=True)
class Product:
    """The operator, installed by the chart."""

    target: Target
    images: Images

    def pull_server(self) -> None:
        """Pull the model server's image to a node in advance, so that no test waits for it."""
        name = "pull-server"
        self._run(
            "run",
            name,
            f"--image={self.images.server}",
            "--restart=Never",
            "--command",
            "--",
            "true",
        )
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        try:
            self._run("wait", ended, f"pod/{name}", "--timeout=600s")
        finally:
            self._run("delete", "pod", name, "--ignore-not-found")

    def operator_log(self) -> str:
        """Return the log of the operator's pods since their last start."""
        selector = f"app.kubernetes.io/instance={RELEASE}"
        return self._run("logs", "--selector", selector, "--tail=-1")

    def kill_operator(self) -> None:
        """Kill the operator's pods without a grace period and wait for their replacements."""
        selector = f"app.kubernetes.io/instance={RELEASE}"
        self._run("delete", "pod", "--selector", selector, "--grace-period=0", "--force")
        self._run("rollout", "status", f"deployment/{RELEASE}", "--timeout=120s")

    def _run(self, *arguments: str) -> str:
        return kubectl(self.target, "--namespace", NAMESPACE, *arguments)
