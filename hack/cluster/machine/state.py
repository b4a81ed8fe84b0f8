"""The files of a cluster's state directory, through which host and supervisor communicate.

The host writes `request.json`, the supervisor inside the cluster answers in `status.json`. Only the
lock shows whether a cluster is running: the kernel holds it as long as one of the supervisor's
processes lives, so a stale file cannot pretend that a cluster runs.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """The desired state of the cluster, written by the host."""

    serial: int
    parts: tuple[str, ...]
    artefacts: dict[str, str]
    gpus: int = 0
    kwok_nodes: int = 0
    egress: bool = False
    stop: bool = False


@dataclass
class Progress:
    """The progress of a component."""

    state: str = "waiting"  # waiting, starting, ready, failed
    seconds: float = 0.0
    restarts: int = 0
    message: str = ""


@dataclass
class Status:
    """The supervisor's status of the request with the same serial."""

    serial: int = 0
    slot: int | None = None
    parts: tuple[str, ...] = ()
    gpus: int = 0
    kwok_nodes: int = 0
    egress: bool = False
    host_forwarded: bool = True
    failure: str = ""
    components: dict[str, Progress] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether all requested components are ready."""
        states = [progress.state for progress in self.components.values()]
        return not self.failure and bool(states) and all(state == "ready" for state in states)


@dataclass(frozen=True)
class State:
    """Paths of one state directory."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator, usable from the host."""
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Directory with a log per component and the API server's audit.log."""
        return self.root / "logs"

    @property
    def pki(self) -> Path:
        """Directory of certificates, keys and the components' kubeconfigs."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Directory of the components' configuration files."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """Directory of the components' data, emptied before each start."""
        return self.root / "data"

    @property
    def host_resolvers(self) -> Path:
        """The host's resolv.conf, for clusters with egress."""
        return self.root / "resolv.conf"

    @property
    def lock_file(self) -> Path:
        """File that is locked while the cluster runs."""
        return self.root / "lock"

    def lock(self) -> int | None:
        """Take the lock; return an inheritable file descriptor, or None if the cluster runs."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def is_running(self) -> bool:
        """Return whether a supervisor is running."""
        if not self.lock_file.exists():
            return False
        handle = self.lock()
        if handle is not None:
            os.close(handle)
        return handle is None

    def write_request(self, request: Request) -> None:
        """Write a request for the supervisor."""
        _write(self.root / "request.json", asdict(request))

    def read_request(self) -> Request | None:
        """Return the last request, if there is any."""
        data = _read(self.root / "request.json")
        return Request(**data | {"parts": tuple(data["parts"])}) if data else None

    def write_status(self, status: Status) -> None:
        """Write the supervisor's status."""
        _write(self.root / "status.json", asdict(status))

    def read_status(self) -> Status:
        """Return the supervisor's last status, which outlives it: check is_running() first."""
        data = _read(self.root / "status.json")
        components = {name: Progress(**entry) for name, entry in data.pop("components", {}).items()}
        parts = tuple(data.pop("parts", ()))
        return Status(**data, parts=parts, components=components)


def _write(path: Path, data: dict[str, Any]) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(data, indent=1))
    unfinished.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return data
