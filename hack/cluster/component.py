"""Components that the supervisor starts: long-running programs, and commands that run once."""

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

    With a probe it is a long-running program, ready when the probe succeeds. Without one it is a
    command, ready when it has succeeded; it is retried until then, and runs again when its
    definition changes.
    """

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    probe: Probe | None = field(default=None, compare=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    # Content that the command reads from a file; a change causes another run.
    content: str = ""


@dataclass(frozen=True)
class Site:
    """Paths and addresses of a cluster, for the definitions of its components."""

    state: State
    addresses: Addresses
    request: Request
    store: Path

    def binary(self, group: str, name: str = "") -> str:
        """Return the path of a program built by the toolchain."""
        return f"{self.request.artefacts[group]}/bin/{name or group}"

    def files(self, group: str) -> Path:
        """Return the module files that the toolchain keeps for a group."""
        return Path(self.request.artefacts[group]) / "files"

    def cert(self, name: str) -> str:
        """Return the path of a certificate of an authority or a user."""
        return str(self.state.pki / f"{name}.crt")

    def key(self, name: str) -> str:
        """Return the path of a private key."""
        return str(self.state.pki / f"{name}.key")

    def kubeconfig(self, user: str) -> str:
        """Return the path of a component's kubeconfig."""
        return str(self.state.pki / f"{user}.kubeconfig")

    def data(self, name: str) -> str:
        """Return a folder that is empty when the cluster starts."""
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
        """Return a kubectl command of the cluster's administrator."""
        kubeconfig = str(self.state.kubeconfig)
        return (self.binary("kubernetes", "kubectl"), "--kubeconfig", kubeconfig, *arguments)

    def apply(self, name: str, *documents: Mapping[str, Any], after: tuple[str, ...]) -> Component:
        """Return a component that applies objects."""
        path = self.write_yaml(f"{name}.yaml", *documents)
        command = self.kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
        return Component(name, command, after=after, content=json.dumps(documents))


def answers(url: str, authority: str = "") -> Probe:
    """Return a probe for a 200 from `url`; `authority` is the CA file of an https URL."""
    context: ssl.SSLContext | None = None

    def probe() -> bool:
        nonlocal context
        if authority and context is None:
            context = ssl.create_default_context(cafile=authority)
        # Ignore proxies of the environment between the cluster's own processes.
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
    """Return a probe for a file (or socket) at `path`."""
    return path.exists
