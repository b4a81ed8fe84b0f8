"""The pods of a model find each other before any of them starts what computes.

The others tell the leader who they are, on the port on which the ranks meet afterwards. When all
have come and all run the same, the leader lets them go on. So who is missing, and who runs another
release, is known by name after seconds and without a library being loaded; torch's own meeting only
says that a time is over.

Each of the others says one line of JSON and is answered by one.
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
# What anybody may say before the other side hangs up, and how long one may take to say it.
_LINE_BYTES = 65536
_LINE_SECONDS = 10.0
_PACKAGES = ("deepseek-operator", "torch", "transformers")


@dataclass(frozen=True)
class Introduction:
    """What a pod says of itself.

    Attributes:
        pod: its number.
        host: the machine that it runs on.
        versions: the releases that it runs, by package.
        world: how many ranks it takes the model to have.
        digest: what its configuration comes to.
    """

    pod: int
    host: str
    versions: Mapping[str, str]
    world: int
    digest: str


class Meeting:
    """The pods that have come, until their ranks have met, too.

    Each keeps its connection to the leader. A pod that is replaced right after it has come (its old
    pod was about to end, for example) would be waited for in vain; its connection tells.

    Args:
        hosts: of all pods, in their order.
        wires: the leader's to the others by their number, or another pod's to the leader.
    """

    def __init__(self, hosts: tuple[str, ...], wires: Mapping[int, socket.socket]) -> None:
        self.hosts = hosts
        self._wires = wires
        self._over = threading.Event()

    def watch(self, lost: Callable[[int], None]) -> None:
        """Say which pod goes, if one does before `close`; returns at once."""
        threading.Thread(target=self._watch, args=(lost,), name="meeting", daemon=True).start()

    def _watch(self, lost: Callable[[int], None]) -> None:
        with selectors.DefaultSelector() as selector:
            for pod, wire in self._wires.items():
                selector.register(wire, selectors.EVENT_READ, pod)
            while not self._over.is_set():
                gone = [key.data for key, _ in selector.select(_WATCH_SECONDS)]
                if gone and not self._over.is_set():  # nobody has anything more to say
                    lost(gone[0])
                    return

    def close(self) -> None:
        """The ranks have met, and look after each other from here on."""
        self._over.set()

    def leave(self) -> None:
        """Let go of the others, as the end of this process would."""
        for wire in self._wires.values():
            wire.close()


def introduction(pod: Pod, config: Config) -> Introduction:
    """What this pod says of itself."""
    versions = {package.replace("-operator", "_server"): _version(package) for package in _PACKAGES}
    return Introduction(pod.index, pod.host, versions, config.tensor_parallel, config.digest)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its source
        return "unknown"


def disagreement(leader: Introduction, other: Introduction, ranks_per_pod: int) -> str:
    """What keeps two pods from computing one model, as a sentence; empty where nothing does."""
    rank = other.pod * ranks_per_pod
    for name in sorted({*leader.versions, *other.versions}):
        first, second = leader.versions.get(name, "none"), other.versions.get(name, "none")
        if first != second:
            return (
                f"rank {rank} on {other.host} runs {name} {second}, but rank 0 on {leader.host} "
                f"runs {first}: give all pods of the model the same image"
            )
    if leader.world != other.world:
        return (
            f"rank {rank} on {other.host} is one of {other.world} ranks, but rank 0 on "
            f"{leader.host} is one of {leader.world}: give all pods of the model the same "
            "tensorParallel"
        )
    if leader.digest != other.digest:
        return (
            f"rank {rank} on {other.host} has a configuration with the digest {other.digest}, but "
            f"that of rank 0 on {leader.host} has {leader.digest}: give all pods of the model the "
            "same configuration file"
        )
    return ""


def call(config: Config, pod: Pod, here: Callable[[int], None] = lambda _: None) -> Meeting:
    """Meet the other pods.

    Args:
        config: what is to be served, by several pods.
        pod: which of them this one is.
        here: is told how many have come, on the leader.

    Raises:
        GangError: not all came in time; says which.
        PermanentError: they do not run the same; says what differs. All pods say the same.
    """
    mine = introduction(pod, config)
    return _lead(config, mine, here) if pod.leads else _report_to(config, pod, mine)


def _lead(config: Config, mine: Introduction, here: Callable[[int], None]) -> Meeting:
    assert config.gang is not None  # noqa: S101 - there are several pods
    roll = _Roll(mine, config.gang.pods, config.ranks_per_pod)
    deadline = time.monotonic() + config.gang.meet_seconds
    here(1)
    try:
        opened = _listen(config.gang.port)
    except OSError as error:
        raise PermanentError(
            f"cannot listen on port {config.gang.port} for the other pods of the model "
            f"({error.strerror}): set gang.port to a free one"
        ) from error
    with opened, contextlib.ExitStack() as leaving:
        leaving.callback(roll.close)
        try:
            while not roll.complete:
                roll.take(opened, deadline)
                here(roll.count)
        except StartError as error:
            roll.answer({"code": error.exit_code, "sentence": str(error)})
            raise
        opened.close()  # before the others go on: the ranks meet on the same port
        roll.answer({"hosts": roll.hosts})
        leaving.pop_all()
    return Meeting(roll.hosts, roll.wires)


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


class _Roll:
    """Who has come so far, with the connections to them.

    Args:
        mine: the leader's introduction.
        pods: how many are to come, the leader among them.
        ranks_per_pod: for sentences.
    """

    def __init__(self, mine: Introduction, pods: int, ranks_per_pod: int) -> None:
        self._mine, self._pods, self._ranks_per_pod = mine, pods, ranks_per_pod
        self._came: dict[int, tuple[Introduction, socket.socket]] = {}

    @property
    def count(self) -> int:
        """How many pods are here."""
        return 1 + len(self._came)

    @property
    def complete(self) -> bool:
        """Whether all are here."""
        return self.count == self._pods

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where they run, in their order."""
        return (self._mine.host, *(self._came[pod][0].host for pod in sorted(self._came)))

    @property
    def wires(self) -> Mapping[int, socket.socket]:
        """The connections to those that have come, by their number."""
        return {pod: wire for pod, (_, wire) in self._came.items()}

    def take(self, opened: socket.socket, deadline: float) -> None:
        """Wait for the next pod, or for one that came to leave again.

        Raises:
            GangError: the time is over.
            PermanentError: it does not run what the leader runs.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(opened, selectors.EVENT_READ)
            for pod, (_, wire) in self._came.items():
                selector.register(wire, selectors.EVENT_READ, pod)
            ready = selector.select(max(deadline - time.monotonic(), 0))
        if not ready:
            raise GangError(self._missing())
        for key, _ in ready:
            if key.fileobj is not opened:  # it has nothing more to say, so it is gone
                self._came.pop(key.data)[1].close()
        if any(key.fileobj is opened for key, _ in ready):
            self._welcome(opened.accept()[0])

    def _welcome(self, wire: socket.socket) -> None:
        try:
            wire.settimeout(_LINE_SECONDS)
            other = Introduction(**_receive(wire))
        except (OSError, ValueError, TypeError) as error:
            log.info("somebody who is no pod of this model has called (%s)", error)
            wire.close()
            return
        if other.pod in self._came:  # it was started again
            self._came.pop(other.pod)[1].close()
        if not 0 < other.pod < self._pods:
            log.warning("a pod with the number %d on %s has called", other.pod, other.host)
            wire.close()
            return
        self._came[other.pod] = other, wire
        log.info("pod %d on %s is here", other.pod, other.host)
        if problem := disagreement(self._mine, other, self._ranks_per_pod):
            raise PermanentError(problem)

    def _missing(self) -> str:
        missing = [str(pod) for pod in range(1, self._pods) if pod not in self._came]
        who = f"pod {missing[0]} has" if len(missing) == 1 else f"pods {', '.join(missing)} have"
        return (
            f"{who} not come of the {self._pods} pods of the model, which meet on "
            f"{self._mine.host}, within gang.meetSeconds: check that all of them run and that "
            "nothing between them blocks their connections"
        )

    def answer(self, value: Mapping[str, Any]) -> None:
        """Say something to all who have come."""
        for _, wire in self._came.values():
            with contextlib.suppress(OSError):  # it is gone, which its own log explains
                _send(wire, value)

    def close(self) -> None:
        """Hang up."""
        for _, wire in self._came.values():
            wire.close()


def _report_to(config: Config, pod: Pod, mine: Introduction) -> Meeting:
    assert config.gang is not None  # noqa: S101 - there are several pods
    deadline = time.monotonic() + config.gang.meet_seconds
    reason = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with contextlib.ExitStack() as leaving:
                wire = socket.create_connection((pod.leader, config.gang.port), left)
                leaving.enter_context(wire)
                _send(wire, asdict(mine))
                wire.settimeout(max(deadline - time.monotonic(), 0) + _LINE_SECONDS)
                answer = _receive(wire)
                leaving.pop_all()
        except (OSError, ValueError) as error:
            reason = _words(error)
            time.sleep(_RETRY_SECONDS)
            continue
        if "sentence" in answer:
            wire.close()
            raise failure(int(answer["code"]), str(answer["sentence"]))
        return Meeting(tuple(answer["hosts"]), {0: wire})
    raise GangError(
        f"pod {pod.index} on {pod.host} did not meet the leader of the model at {pod.leader} port "
        f"{config.gang.port} within {config.gang.meet_seconds:g} s ({reason}): check that the "
        "leader runs and that nothing between them blocks their connections"
    )


def _words(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, socket.gaierror) or number is None:
        return str(error) or type(error).__name__
    return os.strerror(number)


def _send(wire: socket.socket, value: Mapping[str, Any]) -> None:
    wire.sendall(json.dumps(value).encode() + b"\n")


def _receive(wire: socket.socket) -> dict[str, Any]:
    """One line of JSON.

    Raises:
        OSError: the connection ended or took too long.
        ValueError: that was no line with a JSON object.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = wire.recv(_LINE_BYTES - len(line))
        if not part:
            raise ConnectionResetError("the connection was closed at its other end")
        line += part
        if len(line) >= _LINE_BYTES:
            raise ValueError("that is no line of a pod")
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("that is no object")
    return value


def hosts_of_ranks(hosts: Iterable[str], ranks_per_pod: int) -> tuple[str, ...]:
    """The host of each rank, from those of the pods."""
    return tuple(host for host in hosts for _ in range(ranks_per_pod))
