"""Starts the process that computes, and holds the connection to it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from deepseek_server.config import Config
from deepseek_server.failures import PermanentError

CONNECT_SECONDS = 0.2
ENDING_SECONDS = 10


class Worker(Protocol):
    """An engine that was started somewhere and will say how it is over a connection."""

    @property
    def connection(self) -> Connection:
        """To it."""

    def why_ended(self) -> str:
        """A sentence about its end, once the connection has ended."""

    def finish(self) -> None:
        """Let it end as it was asked to; end it where that takes too long."""

    def end(self) -> None:
        """End it, whatever it does."""


class WorkerProcess:
    """A worker in a process of its own, or in several that torchrun starts and ends together.

    They are in a session of their own too, so that what a terminal or a supervisor sends to the
    server does not end them before the server has drained.

    Args:
        config: what is to be served.
    """

    def __init__(self, config: Config) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="deepseek-")
        address = Path(self._directory.name) / "engine"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(address))
        self._listening.listen(1)
        self._listening.settimeout(CONNECT_SECONDS)
        self._connection: Connection | None = None
        self._process = subprocess.Popen([*_command(config), str(address)], start_new_session=True)

    @property
    def connection(self) -> Connection:
        """See Worker; waits until it has connected.

        Raises:
            PermanentError: it ended before that.
        """
        if self._connection is None:
            self._connection = Connection(self._accept().detach())
            self._listening.close()
            self._directory.cleanup()
        return self._connection

    def _accept(self) -> socket.socket:
        while True:
            try:
                connected, _ = self._listening.accept()
            except TimeoutError:
                if self._process.poll() is not None:
                    raise PermanentError(
                        f"the engine ended at once ({self.why_ended()}): the log above says why"
                    ) from None
                continue
            connected.setblocking(True)
            return connected

    def why_ended(self) -> str:
        """See Worker."""
        try:
            status = self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return "the engine's process has closed its connection"
        if status >= 0:
            return f"the engine's process ended with exit code {status}"
        name = signal.Signals(-status).name
        likely = ", most likely for taking too much memory" if name == "SIGKILL" else ""
        return f"the engine's process was ended by {name}{likely}"

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


def _command(config: Config) -> list[str]:
    worker = ["-m", "deepseek_server.worker", config.device]
    if config.tensor_parallel == 1:
        return [sys.executable, *worker]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--no-python"]
    count = ["--nproc-per-node", str(config.tensor_parallel)]
    return [sys.executable, *torchrun, *count, sys.executable, *worker]
