"""What the supervisor starts: programs that stay, and commands that run once."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.machine.network import Addresses
from hack.cluster.machine.state import Request, State

Probe = Callable[[], bool]
NODE_NAME = "node-1"


@dataclass(frozen=True)
class Component:
    """A program of the cluster.

    With a probe it stays, and is ready when the probe says so; without one it runs once, is ready
    when it has succeeded, is tried again until it has, and runs again when it is asked to be
    something else.
    """

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    probe: Probe | None = field(default=None, compare=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    # Content that the command reads from a file; a change of it means another run.
    content: str = ""


@dataclass(frozen=True)
class Site:
    """Where a cluster is, for those who describe its components."""

    state: State
    addresses: Addresses
    request: Request
    store: Path

    def binary(self, group: str, name: str = "") -> str:
        """The path of a program that the toolchain has built."""
        return f"{self.request.artefacts[group]}/bin/{name or group}"

    def files(self, group: str) -> Path:
        """The module files that the toolchain has kept for a group."""
        return Path(self.request.artefacts[group]) / "files"

    def cert(self, name: str) -> str:
        """The path of a certificate, an authority's or a user's."""
        return str(self.state.pki / f"{name}.crt")

    def key(self, name: str) -> str:
        """The path of a private key."""
        return str(self.state.pki / f"{name}.key")

    def kubeconfig(self, user: str) -> str:
        """The path of a component's kubeconfig."""
        return str(self.state.pki / f"{user}.kubeconfig")

    def data(self, name: str) -> str:
        """A folder that is empty at the cluster's start."""
        path = self.state.data / name
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def write(self, name: str, text: str) -> str:
        """Write a configuration file and return its path."""
        path = self.state.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return str(path)

    def write_yaml(self, name: str, *documents: Mapping[str, Any]) -> str:
        """Write a configuration file of YAML documents and return its path."""
        return self.write(name, yaml.safe_dump_all(documents, sort_keys=False))

    def kubectl(self, *arguments: str) -> tuple[str, ...]:
        """A command of the cluster's administrator."""
        kubeconfig = str(self.state.kubeconfig)
        return (self.binary("kubernetes", "kubectl"), "--kubeconfig", kubeconfig, *arguments)

    def apply(self, name: str, *documents: Mapping[str, Any], after: tuple[str, ...]) -> Component:
        """A component that brings objects into the API."""
        path = self.write_yaml(f"{name}.yaml", *documents)
        command = self.kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
        return Component(name, command, after=after, content=json.dumps(documents))


def answers(url: str, authority: str = "") -> Probe:
    """Ready when `url` answers 200; `authority` is the CA file for an https URL."""
    context: ssl.SSLContext | None = None

    def probe() -> bool:
        nonlocal context
        if authority and context is None:
            context = ssl.create_default_context(cafile=authority)
        # No proxy that the environment may name has a say between the cluster's own processes.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return probe


def exists(path: Path) -> Probe:
    """Ready when there is a file (or socket) at `path`."""
    return path.exists
