"""The model server as a separate process: its port, its log, its child processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from tests.support.lifeline import end_with_parent
from tests.support.repository import ROOT

LISTEN_SECONDS = 120.0
READY_SECONDS = 360.0  # many processes that import torch, on a machine that is busy
LOOK_SECONDS = 0.05


def address(log: Path) -> str:
    """Return the URL that a starting server logs.

    Raises:
        AssertionError: it does not listen in time; the message has its log.
    """
    deadline = time.monotonic() + LISTEN_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"listening on (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(LOOK_SECONDS)
    raise AssertionError(f"it does not listen: {log.read_text()}")


class ServerProcess:
    """`python -m deepseek_server` on a free port; leaving the context kills all its processes.

    Args:
        model: the directory of the model.
        log: the file for its log.
        flags: further command line arguments.
        module: the module to run; a test may use one that patches the server first.
        environment: further environment variables.

    Attributes:
        popen: the process.
        url: its URL.
        client: an HTTP client with this URL.
    """

    def __init__(
        self,
        model: Path,
        log: Path,
        *flags: str,
        module: str = "deepseek_server",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log_file = log
        self._seen: dict[int, psutil.Process] = {}
        command = [sys.executable, "-m", module, "--model", str(model)]
        with log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", "0", *flags],
                stderr=stderr,
                # Tiny tensors gain nothing from more threads.
                env={"OMP_NUM_THREADS": "1", **os.environ, **(environment or {})},
                cwd=ROOT,  # for the import of test modules
                preexec_fn=end_with_parent,
            )
        self.url = address(log)
        self.client = httpx.Client(base_url=self.url, timeout=120)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        left = self.processes()
        for process in left:
            process.kill()
        self.popen.wait()
        psutil.wait_procs(left)

    @property
    def log(self) -> str:
        """Its whole log."""
        return self.log_file.read_text()

    def processes(self) -> list[psutil.Process]:
        """Return the running processes among itself and all descendants seen so far."""
        if self.popen.poll() is None:
            root = psutil.Process(self.popen.pid)
            for process in (root, *root.children(recursive=True)):
                self._seen[process.pid] = process
        return [process for process in self._seen.values() if _lives(process)]

    def workers(self) -> list[psutil.Process]:
        """Return the engine processes, in the order of their ranks."""
        found = [p for p in self.processes() if p.cmdline()[2:3] and "worker" in p.cmdline()[2]]
        return sorted(found, key=lambda process: process.environ().get("RANK", "0"))

    def wait_until_ready(self) -> Self:
        """Wait until the model accepts requests."""
        self.wait_for(lambda: self.client.get("/health/ready").status_code == 200, READY_SECONDS)
        self.processes()
        return self

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds; fail with the log after `seconds` or if the server ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.popen.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(LOOK_SECONDS)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.popen.send_signal(signal.SIGTERM)

    def left_after(self, seconds: float) -> list[psutil.Process]:
        """Wait up to `seconds` for all processes to end; return those that still run."""
        known = self.processes()
        if self.popen.poll() is None:
            self.popen.wait(seconds)
        psutil.wait_procs(known, seconds)
        return self.processes()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
