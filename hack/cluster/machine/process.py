"""The life cycle of a component: from waiting to ready, and back when its program exits."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from hack.cluster.component import Component
from hack.cluster.machine.state import Progress

PROBE_EVERY = 0.1  # seconds
RETRY_AFTER = 0.3  # seconds, for commands
RESTART_AFTER = 1.0  # seconds, for programs that stay
ATTEMPTS = 3  # of a program that ends before it was ever ready


class Process:
    """Starts, probes and restarts a component; the supervisor reports exited processes."""

    def __init__(self, component: Component, logs: Path) -> None:
        """Set the component and the folder of its log."""
        self.component = component
        self.pid: int | None = None
        self._log = logs / f"{component.name}.log"
        self._progress = Progress()
        self._begun: float | None = None
        self._next = 0.0
        self._was_ready = False
        self._failures = 0
        self._again = False

    @property
    def ready(self) -> bool:
        """Whether dependent components may start."""
        return self._progress.state == "ready"

    def progress(self) -> Progress:
        """Return a copy of its progress."""
        return Progress(**vars(self._progress))

    def change(self, component: Component) -> None:
        """Change the definition of the component.

        A long-running program rereads its files by itself or keeps them; a command runs again.
        """
        changed = component != self.component
        self.component = component
        if changed and component.probe is None:
            self._again = self.pid is not None
            self._progress.state = "waiting"

    def advance(self) -> None:
        """Take the next step, if it is due."""
        now = time.monotonic()
        if self._progress.state in ("ready", "failed") or now < self._next:
            return
        if self.pid is None:
            self._start(now)
        elif self.component.probe is not None:
            self._next = now + PROBE_EVERY
            if self.component.probe():
                self._now_ready()

    def ended(self, code: int) -> None:
        """Record that the process has exited."""
        self.pid = None
        if self.component.probe is None:
            self._command_ended(code)
            return
        self._next = time.monotonic() + RESTART_AFTER
        self._progress.message = f"ended with {code}, see {self._log}"
        if self._was_ready:
            self._progress.restarts += 1
        else:
            self._failures += 1
        self._progress.state = "failed" if self._failures >= ATTEMPTS else "waiting"

    def _command_ended(self, code: int) -> None:
        if self._again:
            self._again = False
        elif code == 0:
            self._now_ready()
        else:
            self._progress.state = "waiting"
            self._progress.message = f"ended with {code}, see {self._log}"
            self._next = time.monotonic() + RETRY_AFTER

    def _start(self, now: float) -> None:
        self._begun = self._begun or now
        self._progress.state = "starting"
        with self._log.open("a") as log:
            child = subprocess.Popen(
                self.component.command,
                env={**_environment(), **self.component.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = child.pid
        # Process 1 collects all children itself; this object must not wait for its own.
        child.returncode = 0

    def _now_ready(self) -> None:
        self._progress.state = "ready"
        self._progress.message = ""
        if not self._was_ready and self._begun is not None:
            self._progress.seconds = round(time.monotonic() - self._begun, 1)
        self._was_ready = True


def _environment() -> dict[str, str]:
    """Return our environment without proxies: the cluster's programs only talk locally."""
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
