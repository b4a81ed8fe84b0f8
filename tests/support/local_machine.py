"""`deepseek local` as a user runs it: the command, and the processes that it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

SECONDS = 120.0


class LocalMachine:
    """A home directory of its own, and a resource with a tiny model.

    Args:
        home: Directory for all files and state.
        model: Directory of the model.
    """

    def __init__(self, home: Path, model: Path) -> None:
        self.home, self.model = home, model
        self.env = {**os.environ, "XDG_STATE_HOME": str(home / "state"), "OMP_NUM_THREADS": "1"}

    def file(self, name: str, **spec: Any) -> Path:
        """Write a file with a resource and return its path."""
        source = {"hostPath": {"path": str(self.model)}}
        body = {
            "apiVersion": "deepseek-operator.io/v1alpha1",
            "kind": "DeepSeekDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"id": "tiny", "source": source}, **spec},
        }
        path = self.home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(body))
        return path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a command that keeps running."""
        return subprocess.Popen(
            _command(arguments),
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            _command(arguments),
            env=self.env,
            text=True,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )

    def status(self, name: str) -> dict[str, Any]:
        """Return the output of `deepseek local status`."""
        (status,) = json.loads(self.run("status", name, "-o", "json").stdout)
        return dict(status)

    def view(self, name: str) -> dict[str, Any]:
        """Return the contents of the state file, {} if it does not exist."""
        path = self.home / "state/deepseek/local" / name / "state.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def phases(self, name: str) -> list[str]:
        """Return the phases of its replicas."""
        return [replica["phase"] for replica in self.view(name).get("replicas", [])]


def _command(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "deepseek_operator.cli", "local", *map(str, arguments)]


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Stream(threading.Thread):
    """A long streamed response, read in a thread.

    Attributes:
        events: Events received so far.
    """

    def __init__(self, url: str, tokens: int) -> None:
        super().__init__(daemon=True)
        self._url, self._tokens = url, tokens
        self.events: list[str] = []
        self.start()

    def run(self) -> None:
        body = {"model": "tiny", "prompt": "a", "ignore_eos": True, "stream": True}
        with httpx.stream(
            "POST",
            f"{self._url}/v1/completions",
            json={**body, "max_tokens": self._tokens},
            timeout=60,
        ) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.events.append(line.removeprefix("data: "))

    def begun(self) -> bool:
        return len(self.events) > 2

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that it ended with."""
        last = self.events[-1]
        return None if last == "[DONE]" else dict(json.loads(last)["error"])
