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

    connection: Connection

    def why_ended(self) -> str:
        """A sentence about its end, once the connection has ended."""

    def end(self) -> None:
        """End it, whatever it does."""


class WorkerProcess:
    """A worker in a process of its own, or in several that torchrun starts and ends together.

    They are in a session of their own too, so that what a terminal or a supervisor sends to the
    server does not end them before the server has drained.

    Args:
        config: what is to be served.

    Raises:
        PermanentError: it ended before it had connected.
    """

    def __init__(self, config: Config) -> None:
        with tempfile.TemporaryDirectory(prefix="deepseek-") as directory:
            address = Path(directory) / "engine"
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(address))
                listening.listen(1)
                listening.settimeout(CONNECT_SECONDS)
                self._process = subprocess.Popen(
                    [*_command(config), str(address)],
                    start_new_session=True,
                )
                self.connection = Connection(self._accept(listening).detach())

    def _accept(self, listening: socket.socket) -> socket.socket:
        while True:
            try:
                connected, _ = listening.accept()
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

    def end(self) -> None:
        """See Worker."""
        self.connection.close()
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
