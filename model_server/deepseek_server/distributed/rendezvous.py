"""Rendezvous: the pods of a gang connect before any of them starts its engine.

Followers introduce themselves to the leader, on the port that the ranks use for their rendezvous
afterwards. When all pods have connected and run the same versions and configuration, the leader lets
them continue. So a missing pod or one with another version is known by name within seconds, before any
library is loaded; torch's own rendezvous only reports a timeout.

Each follower sends one line of JSON and gets one line as the response.
"""

import contextlib
import json
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from deepseek_server.config import Config
from deepseek_server.distributed.gang import Pod
from deepseek_server.errors import GangError, PermanentError, StartError, failure

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_WATCH_SECONDS = 0.2
# Limits of one line: its size, and the time to receive it.
_LINE_BYTES = 65536
_LINE_SECONDS = 10.0
_PACKAGES = ("deepseek-operator", "torch", "transformers")


@dataclass(frozen=True)
class Introduction:
    """Introduction of a pod.

    Attributes:
        pod: its number.
        host: its node.
        versions: the versions that it runs, by package.
        world: the number of ranks of the model in its configuration.
        digest: the digest of its configuration.
    """

    pod: int
    host: str
    versions: Mapping[str, str]
    world: int
    digest: str


class ConnectedPods:
    """The connected pods, until their ranks have connected.

    Each follower keeps its connection to the leader. It shows if a pod is replaced right after it has
    connected (because it was about to be deleted, for example); otherwise the others would wait for it
    in vain.

    Args:
        hosts: the hosts of all pods, in order.
        connections: the leader's connections to the followers by number, or a follower's to the leader.
    """

    def __init__(self, hosts: tuple[str, ...], connections: Mapping[int, socket.socket]) -> None:
        self.hosts = hosts
        self._connections = connections
        self._closed = threading.Event()

    def watch(self, lost: Callable[[int], None]) -> None:
        """Call `lost` with the number of a pod that disconnects before `close`; returns at once."""
        threading.Thread(
            target=self._watch, args=(lost,), name="connected pods", daemon=True
        ).start()

    def _watch(self, lost: Callable[[int], None]) -> None:
        with selectors.DefaultSelector() as selector:
            for pod, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, pod)
            while not self._closed.is_set():
                gone = [key.data for key, _ in selector.select(_WATCH_SECONDS)]
                if (
                    gone and not self._closed.is_set()
                ):  # pods send nothing more, so this one is gone
                    lost(gone[0])
                    return

    def close(self) -> None:
        """Stop watching: the ranks have connected and watch each other from now on."""
        self._closed.set()

    def leave(self) -> None:
        """Close the connections, as the end of this process would."""
        for connection in self._connections.values():
            connection.close()


def introduction(pod: Pod, config: Config) -> Introduction:
    """Return the introduction of this pod."""
    versions = {package.replace("-operator", "_server"): _version(package) for package in _PACKAGES}
    return Introduction(pod.index, pod.host, versions, config.tensor_parallel, config.digest)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree
        return "unknown"


def disagreement(leader: Introduction, other: Introduction, ranks_per_pod: int) -> str:
    """Return why two pods cannot compute one model, as a sentence; empty if they can."""
    rank = other.pod * ranks_per_pod
    for name in sorted({*leader.versions, *other.versions}):
        first, second = leader.versions.get(name, "none"), other.versions.get(name, "none")
        if first != second:
            return (
                f"rank {rank} on {other.host} runs {name} {second}, but rank 0 on {leader.host} "
                f"runs {first}: use the same image for all pods of the model"
            )
    if leader.world != other.world:
        return (
            f"rank {rank} on {other.host} expects {other.world} ranks, but rank 0 on "
            f"{leader.host} expects {leader.world}: set the same tensorParallel for all pods of "
            "the model"
        )
    if leader.digest != other.digest:
        return (
            f"rank {rank} on {other.host} has a configuration with the digest {other.digest}, but "
            f"that of rank 0 on {leader.host} has {leader.digest}: use the same configuration file "
            "for all pods of the model"
        )
    return ""


def connect(
    config: Config, pod: Pod, on_connect: Callable[[int], None] = lambda _: None
) -> ConnectedPods:
    """Connect to the other pods.

    Args:
        config: the configuration, which has a gang.
        pod: this pod.
        on_connect: called on the leader with the number of connected pods.

    Raises:
        GangError: pods did not connect in time; the message names them.
        PermanentError: versions or configurations differ; the message states how. All pods raise the
            same.
    """
    own = introduction(pod, config)
    return _lead(config, own, on_connect) if pod.leads else _join(config, pod, own)


def _lead(config: Config, own: Introduction, on_connect: Callable[[int], None]) -> ConnectedPods:
    assert config.gang is not None  # noqa: S101 - there are several pods
    followers = _Followers(own, config.gang.pods, config.ranks_per_pod)
    deadline = time.monotonic() + config.gang.meet_seconds
    on_connect(1)
    try:
        listener = _listen(config.gang.port)
    except OSError as error:
        raise PermanentError(
            f"cannot listen on port {config.gang.port} for the other pods of the model "
            f"({error.strerror}): set gang.port to a free one"
        ) from error
    with listener, contextlib.ExitStack() as cleanup:
        cleanup.callback(followers.close)
        try:
            while not followers.complete:
                followers.wait(listener, deadline)
                on_connect(followers.count)
        except StartError as error:
            followers.respond({"code": error.exit_code, "sentence": str(error)})
            raise
        listener.close()  # before the others continue: the ranks use the same port
        followers.respond({"hosts": followers.hosts})
        cleanup.pop_all()
    return ConnectedPods(followers.hosts, followers.connections)


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


class _Followers:
    """The followers that have connected so far.

    Args:
        own: the leader's introduction.
        pods: number of pods, including the leader.
        ranks_per_pod: number of ranks per pod, for messages.
    """

    def __init__(self, own: Introduction, pods: int, ranks_per_pod: int) -> None:
        self._own, self._pods, self._ranks_per_pod = own, pods, ranks_per_pod
        self._connected: dict[int, tuple[Introduction, socket.socket]] = {}

    @property
    def count(self) -> int:
        """Number of connected pods, including the leader."""
        return 1 + len(self._connected)

    @property
    def complete(self) -> bool:
        """Whether all pods have connected."""
        return self.count == self._pods

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of the pods, in order."""
        return (self._own.host, *(self._connected[pod][0].host for pod in sorted(self._connected)))

    @property
    def connections(self) -> Mapping[int, socket.socket]:
        """The connections to the followers, by number."""
        return {pod: connection for pod, (_, connection) in self._connected.items()}

    def wait(self, listener: socket.socket, deadline: float) -> None:
        """Wait for the next pod to connect, or for a connected one to leave.

        Raises:
            GangError: the deadline has passed.
            PermanentError: its versions or configuration differ from the leader's.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            for pod, (_, connection) in self._connected.items():
                selector.register(connection, selectors.EVENT_READ, pod)
            ready = selector.select(max(deadline - time.monotonic(), 0))
        if not ready:
            raise GangError(self._missing())
        for key, _ in ready:
            if key.fileobj is not listener:  # a connected pod sends nothing more, so it has left
                self._connected.pop(key.data)[1].close()
        if any(key.fileobj is listener for key, _ in ready):
            self._accept(listener.accept()[0])

    def _accept(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_LINE_SECONDS)
            other = Introduction(**_receive(connection))
        except (OSError, ValueError, TypeError) as error:
            log.info("rejected a connection from an unknown peer (%s)", error)
            connection.close()
            return
        if other.pod in self._connected:  # the pod was restarted
            self._connected.pop(other.pod)[1].close()
        if not 0 < other.pod < self._pods:
            log.warning("rejected a pod with invalid number %d on %s", other.pod, other.host)
            connection.close()
            return
        self._connected[other.pod] = other, connection
        log.info("pod %d on %s has connected", other.pod, other.host)
        if problem := disagreement(self._own, other, self._ranks_per_pod):
            raise PermanentError(problem)

    def _missing(self) -> str:
        missing = [str(pod) for pod in range(1, self._pods) if pod not in self._connected]
        who = f"pod {missing[0]} has" if len(missing) == 1 else f"pods {', '.join(missing)} have"
        return (
            f"{who} not connected to the leader on {self._own.host} within gang.meetSeconds "
            f"({self._pods} pods expected): check that all of them run and that no NetworkPolicy "
            "or firewall blocks their connections"
        )

    def respond(self, value: Mapping[str, Any]) -> None:
        """Send a response to all connected followers."""
        for _, connection in self._connected.values():
            with contextlib.suppress(OSError):  # it has ended; its own log has the reason
                _send(connection, value)

    def close(self) -> None:
        """Close all connections."""
        for _, connection in self._connected.values():
            connection.close()


def _join(config: Config, pod: Pod, own: Introduction) -> ConnectedPods:
    assert config.gang is not None  # noqa: S101 - there are several pods
    deadline = time.monotonic() + config.gang.meet_seconds
    reason = "no response"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with contextlib.ExitStack() as cleanup:
                connection = socket.create_connection((pod.leader, config.gang.port), left)
                cleanup.enter_context(connection)
                _send(connection, asdict(own))
                connection.settimeout(max(deadline - time.monotonic(), 0) + _LINE_SECONDS)
                answer = _receive(connection)
                cleanup.pop_all()
        except (OSError, ValueError) as error:
            reason = _describe(error)
            time.sleep(_RETRY_SECONDS)
            continue
        if "sentence" in answer:
            connection.close()
            raise failure(int(answer["code"]), str(answer["sentence"]))
        return ConnectedPods(tuple(answer["hosts"]), {0: connection})
    raise GangError(
        f"pod {pod.index} on {pod.host} did not connect to the leader at {pod.leader} port "
        f"{config.gang.port} within {config.gang.meet_seconds:g} s ({reason}): check that the "
        "leader runs and that no NetworkPolicy or firewall blocks their connections"
    )


def _describe(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, socket.gaierror) or number is None:
        return str(error) or type(error).__name__
    return os.strerror(number)


def _send(connection: socket.socket, value: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(value).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any]:
    """Receive one line of JSON.

    Raises:
        OSError: the connection was closed or timed out.
        ValueError: the line is not a JSON object.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(_LINE_BYTES - len(line))
        if not part:
            raise ConnectionResetError("the connection was closed at its other end")
        line += part
        if len(line) >= _LINE_BYTES:
            raise ValueError("the line is too long")
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def hosts_of_ranks(hosts: Iterable[str], ranks_per_pod: int) -> tuple[str, ...]:
    """Return the host of each rank, from the hosts of the pods."""
    return tuple(host for host in hosts for _ in range(ranks_per_pod))
