"""The status of servers: the file that `status` reads."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

# starting: not responding yet. pausing: waiting for a restart. stopped: will not be restarted.
Phase = Literal["starting", "loading", "ready", "pausing", "draining", "stopped"]
State = Literal["Starting", "Ready", "Degraded", "Draining", "Stopped", "Failed", "Killed"]


class StoredModel(BaseModel):
    """Base of all parts: immutable, with camelCase names in the file."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Ended(StoredModel):
    """The last exit of a server.

    Attributes:
        at: Time as RFC 3339.
        code: Exit code, negative for a signal.
        words: How it exited, as a predicate.
        why: Cause reported by the server or found by the supervisor; empty if unknown.
        log: Last lines of its log.
    """

    at: str
    code: int
    words: str
    why: str = ""
    log: tuple[str, ...] = ()


class ReplicaView(StoredModel):
    """The status of one replica.

    Attributes:
        index: Index of the replica, from 0.
        phase: Current phase.
        detail: Description of the phase.
        on: UUIDs of its GPUs; empty: CPU.
        loaded_bytes: Bytes loaded in the current step.
        total_bytes: Total bytes of the step; 0 if unknown.
        seconds_left: Remaining seconds of the step; None if unknown.
        port: Port on the loopback, which also serves /metrics.
        pid: PID of its first process.
        failures: Number of consecutive failures.
        starts: Number of starts.
        ended: The last exit.
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
        """Describe the phase, with the cause after a failure."""
        before = f"replica {self.index}"
        if self.phase in ("pausing", "stopped") and self.ended:
            why = f" ({self.ended.why})" if self.ended.why else ""
            return f"{before} {self.ended.words}{why}. {self.detail}"
        return f"{before}: {self.detail or self.phase}"


class View(StoredModel):
    """The status of a resource.

    Attributes:
        name: Name of the resource.
        run: Unique ID of this start.
        pid: PID of the supervisor.
        process_started: Start time of that process, in seconds since the epoch.
        since: Start time as RFC 3339.
        endpoint: Base URL; the API is below /v1.
        model: ID of the model.
        served_name: Model name that clients send.
        runs_on: Description of the device of a replica.
        replicas: The replicas.
        asked_to_end: True once a stop was requested.
        over: True once the supervisor has finished.
        killed: True if the supervisor was killed.
        requests: Number of running requests.
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
        """Return the status after the supervisor and its servers were killed."""
        gone = {
            "phase": "stopped",
            "detail": "killed with its supervisor",
            "port": None,
            "pid": None,
        }
        replicas = tuple(replica.model_copy(update=gone) for replica in self.replicas)
        return self.model_copy(update={"killed": True, "requests": 0, "replicas": replicas})

    @property
    def ready(self) -> int:
        """Number of ready replicas."""
        return count(self.replicas, "ready")

    @property
    def state(self) -> State:
        """Overall state."""
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
    """Return the number of replicas in a phase."""
    return sum(replica.phase == phase for replica in replicas)
