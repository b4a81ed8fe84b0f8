"""A gang of pods, simulated by processes on this machine."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.server_process import ServerProcess
from tests.unit.model_server.distributed.conftest import free_port

NODES = ("node-a", "node-b", "node-c", "node-d")


class GangProcesses:
    """One server for each pod, all with the same configuration file.

    Args:
        model: the directory of the model.
        directory: the directory for logs and other files.
        pods: number of pods.
        ranks: number of ranks of the model over all pods.
        fields: further fields of the section `gang`.
        only: indices of the pods to start; all if None.
        content: further sections of the configuration file.
        own_gpus: give each pod one GPU, as a device plug-in does.
    """

    def __init__(
        self,
        model: Path,
        directory: Path,
        pods: int = 2,
        ranks: int = 2,
        *,
        only: tuple[int, ...] | None = None,
        content: Mapping[str, Any] | None = None,
        own_gpus: bool = False,
        **fields: Any,
    ) -> None:
        self.directory, self._leaving = directory, ExitStack()
        gang = {"pods": pods, "port": free_port(), "meetSeconds": 300, **fields}
        self.config = directory / "gang.json"
        self.content: dict[str, Any] = {"tensorParallel": ranks, "gang": gang, "drainSeconds": 20}
        self.content |= content or {}
        self._own_gpus = own_gpus
        self.config.write_text(json.dumps(self.content))
        self._model, self._pods = model, pods
        self.pods: dict[int, ServerProcess] = {}
        for index in range(pods) if only is None else only:
            self.start(index)

    def start(self, index: int, config: Path | None = None) -> ServerProcess:
        """Start one pod."""
        environment = {
            "LWS_LEADER_ADDRESS": "127.0.0.1",
            "LWS_GROUP_SIZE": str(self._pods),
            "LWS_WORKER_INDEX": str(index),
            "LWS_GROUP_INDEX": "0",
            "NODE_NAME": NODES[index],
            "TERMINATION_LOG": str(self.message(index)),
        }
        log = self.directory / f"pod-{index}.log"
        if self._own_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(index)
        file = str(config or self.config)
        pod = ServerProcess(self._model, log, "--config", file, environment=environment)
        self.pods[index] = self._leaving.enter_context(pod)
        return pod

    def message(self, index: int) -> Path:
        """Return the path of a pod's termination message."""
        return self.directory / f"message-{index}"

    @property
    def leader(self) -> ServerProcess:
        """The leader."""
        return self.pods[0]

    @property
    def logs(self) -> str:
        """The logs of all pods."""
        return "\n".join(f"--- pod {i}\n{pod.log}" for i, pod in self.pods.items())

    def wait_until_ready(self) -> Self:
        """Wait until all pods are ready."""
        for pod in self.pods.values():
            pod.wait_until_ready()
        return self

    def ended(self, index: int, seconds: float) -> tuple[int, str]:
        """Return the exit code and the termination message of a pod; check that no process is left."""
        left = self.pods[index].left_after(seconds)
        assert left == [], self.logs
        message = self.message(index)
        return self.pods[index].popen.returncode, message.read_text() if message.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leaving.close()
