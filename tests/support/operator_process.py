"""The operator as a process that tests can kill."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.kube import eventually
from tests.support.lifeline import end_with_parent


class OperatorProcess:
    """`python -m deepseek_operator` against a cluster.

    Args:
        kubeconfig: Kubeconfig of the cluster.
        log: File that its log is appended to.
        name: Its leader election identity. A process that is restarted under its name leads at
            once, like a container that the kubelet restarts.
        environment: Further environment variables.
    """

    def __init__(self, kubeconfig: Path, log: Path, name: str = "operator-0", **environment: str):
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "DSO_SERVER_IMAGE": "server:test",
            "DSO_POD_NAME": name,
            **environment,
        }
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self, state: str = "ready") -> None:
        """Start it and wait until it reports a state: ready or standing by."""
        self.spawn()
        eventually(f"the operator is {state}", lambda: self.fetch("/readyz") == f"{state}\n")

    def spawn(self) -> None:
        """Start it without waiting."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deepseek_operator"],
                env={**self._environment, "DSO_HTTP_PORT": str(self._port)},
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
            )

    def fetch(self, path: str) -> str:
        """Return the response of its HTTP port, empty if there is none."""
        try:
            url = f"http://127.0.0.1:{self._port}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels, NaN if the process does not respond."""
        lines = [line.split() for line in self.fetch("/metrics").splitlines()]
        if not lines:
            return math.nan
        return sum(float(line[-1]) for line in lines if line and line[0].split("{")[0] == name)

    @property
    def pid(self) -> int:
        """Its process ID, 0 if it does not run."""
        return self._process.pid if self._process else 0

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll() if self._process else None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop it as Kubernetes would; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        code = self._process.wait(timeout=60)
        self._process = None
        return code

    def log_from_now_on(self) -> None:
        """Exclude everything logged so far from `log`."""
        self._log_start = self._log.stat().st_size if self._log.exists() else 0

    @property
    def log(self) -> str:
        """Its log."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[self._log_start :].decode()
