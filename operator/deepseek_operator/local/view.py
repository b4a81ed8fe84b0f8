"""How far servers are, as people and programs are told: the file that `status` reads."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

# starting: it does not answer yet. pausing: it will be started again. stopped: it will not.
Phase = Literal["starting", "loading", "ready", "pausing", "draining", "stopped"]
State = Literal["Starting", "Ready", "Degraded", "Draining", "Stopped", "Failed", "Killed"]


class Told(BaseModel):
    """What all parts have in common: camelCase names in the file."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Ended(Told):
    """How a server ended last.

    Attributes:
        at: When, as RFC 3339.
        code: Its exit code, negative for a signal.
        words: How, as the second half of a sentence.
        why: Its own last words, or what was wrong with it; empty where nobody knows.
        log: Its last lines.
    """

    at: str
    code: int
    words: str
    why: str = ""
    log: tuple[str, ...] = ()


class ReplicaView(Told):
    """One server.

    Attributes:
        index: From 0.
        phase: What it does.
        detail: The same in words.
        on: What it computes on.
        loaded_bytes: Of the present step.
        total_bytes: Of that; 0 while nobody knows.
        seconds_left: Of that; None while nobody knows.
        port: On the loopback, where it has /metrics too.
        pid: Of its first process.
        failures: In a row.
        starts: How often it was started.
        ended: How it ended last.
    """

    index: int
    phase: Phase = "starting"
    detail: str = ""
    on: tuple[str, ...] = ()
    loaded_bytes: int = 0
    total_bytes: int = 0
    seconds_left: int | None = None
    port: int | None = None
    pid: int | None = None
    failures: int = 0
    starts: int = 0
    ended: Ended | None = None

    def __str__(self) -> str:
        """What it does, and where it is not well why."""
        before = f"replica {self.index}"
        if self.phase in ("pausing", "stopped") and self.ended:
            why = f" ({self.ended.why})" if self.ended.why else ""
            return f"{before} {self.ended.words}{why}. {self.detail}"
        return f"{before}: {self.detail or self.phase}"


class View(Told):
    """All servers of a resource.

    Attributes:
        name: Of the resource.
        run: A name that no other start has.
        pid: Of the process that looks after them.
        process_started: When that began, as the system says it, in seconds of the epoch.
        since: When it began, as RFC 3339.
        endpoint: Base URL; the API is below /v1.
        model: Its id.
        served_name: What clients put into `model`.
        runs_on: What a replica computes on.
        asked_to_end: Whether somebody wants them to end.
        over: Whether nothing of it runs any more.
        killed: Whether the process that looked after it ended without a word.
        requests: That run now.
    """

    name: str
    run: str
    pid: int
    process_started: float
    since: str
    endpoint: str
    model: str
    served_name: str
    runs_on: str
    replicas: tuple[ReplicaView, ...]
    asked_to_end: bool = False
    over: bool = False
    killed: bool = False
    requests: int = 0

    def of_the_dead(self) -> "View":
        """The same once the process that looked after the servers, and with it they, were killed."""
        gone = {
            "phase": "stopped",
            "detail": "ended with its supervisor",
            "port": None,
            "pid": None,
        }
        replicas = tuple(replica.model_copy(update=gone) for replica in self.replicas)
        return self.model_copy(update={"killed": True, "requests": 0, "replicas": replicas})

    @property
    def ready(self) -> int:
        """How many take requests."""
        return count(self.replicas, "ready")

    @property
    def state(self) -> State:
        """All of it in a word."""
        if self.killed:
            return "Killed"
        if count(self.replicas, "stopped") == len(self.replicas) and not self.asked_to_end:
            return "Failed"
        if self.over:
            return "Stopped"
        if self.asked_to_end:
            return "Draining"
        if self.ready == len(self.replicas):
            return "Ready"
        return "Degraded" if self.ready else "Starting"


def count(replicas: Sequence[ReplicaView], phase: Phase) -> int:
    """How many are in a phase."""
    return sum(replica.phase == phase for replica in replicas)
