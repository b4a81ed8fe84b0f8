"""Start of the worker processes, and the connection to them."""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from deepseek_server.config import Config
from deepseek_server.distributed import exit_reasons, transport
from deepseek_server.distributed.gang import Pod
from deepseek_server.distributed.network_interface import interface_to
from deepseek_server.distributed.rank_info import GangInfo
from deepseek_server.distributed.rendezvous import hosts_of_ranks
from deepseek_server.errors import GangError, PermanentError, StartError, TransientError

CONNECT_SECONDS = 0.2
ENDING_SECONDS = 10
# Time for the ranks of a pod to write their exit reasons once one has ended.
EXIT_REASON_SECONDS = 10


class Worker(Protocol):
    """A running engine and the connection to it."""

    @property
    def connection(self) -> Connection:
        """The connection to the engine."""

    def why_ended(self) -> str:
        """Describe how it ended; call after the connection has ended."""

    def failure(self) -> StartError:
        """Return the error for the server if the connection ended without a message."""

    def finish(self) -> None:
        """Wait until it ends as requested; kill it if that takes too long."""

    def end(self) -> None:
        """Kill it."""


class WorkerProcess:
    """A worker in one process, or in several that torchrun starts and ends together.

    The processes run in a session of their own, so that signals that a terminal or a supervisor sends
    to the server do not end them before the server has drained.

    Args:
        config: the configuration.

    Attributes:
        module: the module that the worker's processes run.
    """

    module = "deepseek_server.worker.main"

    def __init__(self, config: Config) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="deepseek-")
        self._path = Path(self._directory.name)
        address = self._path / "engine"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(address))
        self._listening.listen(1)
        self._listening.settimeout(CONNECT_SECONDS)
        self._connection: Connection | None = None
        self._process = subprocess.Popen(
            self._command(config, address),
            env={**os.environ, **self._environment()},
            start_new_session=True,
        )

    def _command(self, config: Config, address: Path) -> list[str]:
        worker = ["-m", self.module, config.device, str(address)]
        if config.tensor_parallel == 1:
            return [sys.executable, *worker]
        return [*_torchrun("--standalone"), *_ranks(config.tensor_parallel), *worker]

    def _environment(self) -> dict[str, str]:
        """Return variables to add to the worker's environment."""
        return {}

    @property
    def connection(self) -> Connection:
        """See Worker; blocks until it has connected.

        Raises:
            StartError: it ended before it connected.
        """
        if self._connection is None:
            self._connection = Connection(self._accept().detach())
            self._listening.close()
            self._connected()
        return self._connection

    def _connected(self) -> None:
        """Clean up once the worker has connected."""
        self._directory.cleanup()

    def _accept(self) -> socket.socket:
        while True:
            try:
                connected, _ = self._listening.accept()
            except TimeoutError:
                if self._process.poll() is not None:
                    raise self._ended_at_once() from None
                continue
            connected.setblocking(True)
            return connected

    def _ended_at_once(self) -> StartError:
        return PermanentError(
            f"the engine ended at its start ({self.why_ended()}): see the log above"
        )

    def failure(self) -> StartError:
        """See Worker."""
        return PermanentError(
            f"loading failed ({self.why_ended()}): see the log of the model server"
        )

    def why_ended(self) -> str:
        """See Worker."""
        try:
            status = self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return "the engine process closed its connection"
        if status >= 0:
            return f"the engine process ended with exit code {status}"
        name = signal.Signals(-status).name
        likely = ", most likely because it ran out of memory" if name == "SIGKILL" else ""
        return f"the engine process was killed by {name}{likely}"

    def finish(self) -> None:
        """See Worker."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_SECONDS)
        self.end()

    def end(self) -> None:
        """See Worker."""
        if self._connection is not None:
            self._connection.close()
        self._listening.close()
        self._directory.cleanup()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class GangWorker(WorkerProcess):
    """The ranks of one pod of a gang, started by torchrun, which connects them to the other pods.

    Args:
        config: the configuration, which has a gang.
        pod: this pod.
        hosts: the hosts of all pods.
    """

    def __init__(self, config: Config, pod: Pod, hosts: tuple[str, ...]) -> None:
        assert config.gang is not None  # noqa: S101 - there are several pods
        self._gang, self._pod, self._each = config.gang, pod, config.ranks_per_pod
        self._hosts = hosts_of_ranks(hosts, self._each)
        self._abandoned: GangError | None = None
        super().__init__(config)

    def _command(self, config: Config, address: Path) -> list[str]:
        gang_info = GangInfo(self._gang, self._hosts, self._path)
        meeting = [
            *("--nnodes", str(self._gang.pods), "--node-rank", str(self._pod.index)),
            *("--rdzv-backend", "static", "--max-restarts", "0"),
            *("--rdzv-conf", f"timeout={math.ceil(self._gang.rank_seconds)}"),
            *("--master-addr", self._pod.leader, "--master-port", str(self._gang.port)),
        ]
        worker = ["-m", self.module, config.device, str(address), gang_info.write()]
        return [*_torchrun(*meeting), *_ranks(self._each), *worker]

    def _environment(self) -> dict[str, str]:
        """Return variables for gloo's network interface and NCCL's log.

        Raises:
            GangError: the leader's name does not resolve in this pod.
        """
        added = transport.logging_environment(self._path)
        if "GLOO_SOCKET_IFNAME" not in os.environ and (interface := self._interface()):
            added["GLOO_SOCKET_IFNAME"] = interface
        # All pods have the same number of ranks, so torchrun need not exchange it.
        added["TORCH_ELASTIC_WORKER_IDENTICAL"] = "1"
        return added

    def _interface(self) -> str:
        """Return the interface that other pods reach; the leader's name may resolve late on itself."""
        deadline = time.monotonic() + self._gang.meet_seconds
        while True:
            try:
                return interface_to(self._pod.leader, self._gang.port)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise GangError(
                        f"pod {self._pod.index} on {self._pod.host} has no route to the leader "
                        f"{self._pod.leader} ({error}): check that this name resolves in the pod"
                    ) from error
            time.sleep(CONNECT_SECONDS)

    def abandon(self, why: GangError) -> None:
        """Kill the ranks, which wait for pods that are lost."""
        self._abandoned = why
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _connected(self) -> None:
        """Keep the directory to the end, for the exit reasons that the ranks write."""

    def _ended_at_once(self) -> StartError:
        error = self.failure()
        if self._abandoned is not None or exit_reasons.read_all(self._path):
            return error
        return GangError(
            f"the ranks of pod {self._pod.index} on {self._pod.host} did not connect to those of "
            f"the other pods at {self._pod.leader} port {self._gang.port} within "
            f"{self._gang.rank_seconds:g} s ({self.why_ended()}): see the log above"
        )

    def why_ended(self) -> str:
        """See Worker."""
        known = self._abandoned is not None or exit_reasons.read_all(self._path)
        return str(self.failure()) if known else super().why_ended()

    def failure(self) -> StartError:
        """See Worker."""
        if self._abandoned is not None:
            return self._abandoned
        first = self._pod.index * self._each
        ranks = range(first, first + self._each)
        running = False
        try:
            self._process.wait(EXIT_REASON_SECONDS)  # other ranks may still write their reasons
        except subprocess.TimeoutExpired:
            running = True
        found = exit_reasons.read_all(self._path)
        if running and not found:
            return TransientError(
                f"the ranks of pod {self._pod.index} on {self._pod.host} have stopped or are stuck "
                "in a step: see the log above"
            )
        return exit_reasons.decide(found, ranks, self._pod.host)

    def finish(self) -> None:
        """See Worker; kills torchrun, which would wait for the other pods."""
        self.end()


def _torchrun(*meeting: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *meeting, "--no-python"]


def _ranks(count: int) -> list[str]:
    return ["--nproc-per-node", str(count), sys.executable]
