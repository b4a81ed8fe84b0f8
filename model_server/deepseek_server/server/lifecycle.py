"""The server's state from start to shutdown, and the model that it serves.

The event loop owns this state; the thread that loads the model only writes `progress`.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from deepseek_server.config import ModelConfig
from deepseek_server.engine.ipc import NetworkReport
from deepseek_server.server.served_model import ServedModel


class Phase(StrEnum):
    """The phase of the server."""

    HELD = "held"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


# Seconds without progress after which a start that exceeds its time counts as failed: a hub client may
# retry for that long, and a kernel, which reports no progress, may take that long to compile.
STILL_SECONDS = 600.0
# A speed measured over a shorter time is not meaningful.
_MEASURED_SECONDS = 1.0


@dataclass(frozen=True)
class GangState:
    """The gang, as this pod knows it.

    Attributes:
        pods: number of pods.
        world: number of ranks.
        host: the node of this pod.
        leader: address of the leader; empty on the leader itself.
        network_report: the network between the pods, once they have connected.
    """

    pods: int
    world: int
    host: str
    leader: str = ""
    network_report: NetworkReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the value for the health routes; unknown fields are null, never missing."""
        known: dict[str, Any] = dict.fromkeys(
            ("transport", "gigabytesPerSecond", "slowestPair", "problem")
        )
        if self.network_report is not None:
            known |= {
                "transport": self.network_report.transport,
                "gigabytesPerSecond": round(self.network_report.gigabytes_per_second, 3),
                "problem": self.network_report.problem or None,
            }
            if (pair := self.network_report.slowest_pair) is not None:
                speed = round(pair.gigabytes_per_second, 3)
                known["slowestPair"] = {"hosts": list(pair.hosts), "gigabytesPerSecond": speed}
        return {"pods": self.pods, "world": self.world, "host": self.host, **known}


class Progress:
    """Progress of a long stage; written by one thread and read by others.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self._clock = threading.Lock(), clock
        self._stage, self._loaded, self._total = "starting", 0, 0
        self._began = self._moved = clock()

    def begin(self, stage: str, total: int = 0) -> None:
        """Begin a stage, with its total number of bytes (0: unknown)."""
        with self._lock:
            self._stage, self._loaded, self._total = stage, 0, total
            self._began = self._moved = self._clock()

    def reach(self, loaded: int, total: int | None = None) -> None:
        """Record how many bytes of the stage are done, and their total if it has changed."""
        with self._lock:
            if loaded != self._loaded:
                self._moved = self._clock()
            self._loaded = loaded
            if total is not None:
                self._total = total

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes done and total bytes of the current stage."""
        with self._lock:
            return self._loaded, self._total

    @property
    def seconds_still(self) -> float:
        """Seconds since the last progress."""
        with self._lock:
            return self._clock() - self._moved

    @property
    def seconds_left(self) -> int | None:
        """Estimated seconds until the stage is done; None if not known yet."""
        with self._lock:
            return self._seconds_left()

    def __str__(self) -> str:
        with self._lock:
            if not self._total:
                return self._stage
            percent = min(100, 100 * self._loaded // self._total)
            seconds = self._seconds_left()
            left = f", {seconds} s left" if seconds else ""
            return f"{self._stage}: {percent} % of {readable_bytes(self._total)}{left}"

    def _seconds_left(self) -> int | None:
        elapsed = self._clock() - self._began
        if not self._loaded or not self._total or elapsed < _MEASURED_SECONDS:
            return None
        return math.ceil(max(self._total - self._loaded, 0) * elapsed / self._loaded)


def readable_bytes(count: float) -> str:
    """Format a number of bytes for people: 512 B, 1.5 MiB, 14.2 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@dataclass
class Lifecycle:
    """The server's state, as the health routes show it.

    Attributes:
        start_seconds: time after which a start without progress counts as failed; None: unlimited.
        clock: a monotonic clock in seconds.
        gang: the gang, if several pods compute the model together.
    """

    config: ModelConfig
    start_seconds: float | None = None
    clock: Callable[[], float] = time.monotonic
    phase: Phase = Phase.LOADING
    progress: Progress = field(default_factory=Progress)
    served: ServedModel | None = None
    failure: str = ""
    gang: GangState | None = None
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()
        self._began = self.clock()

    def hold(self, sentence: str) -> None:
        """Enter the phase held, with the reason."""
        self.failure, self.phase = sentence, Phase.HELD

    def release(self) -> None:
        """Leave the phase held; the time of the start begins now."""
        self.failure, self.phase = "", Phase.LOADING
        self._began = self.clock()

    def record_network(self, network_report: NetworkReport) -> None:
        """Record the network between the pods of the gang."""
        assert self.gang is not None  # noqa: S101 - there are several pods
        self.gang = replace(self.gang, network_report=network_report)

    def follow(self) -> None:
        """Become ready as a follower, which serves no requests itself."""
        self.phase = Phase.READY

    def ready(self, served: ServedModel) -> None:
        """Become ready to serve a model."""
        self.served, self.phase = served, Phase.READY

    def drain(self) -> None:
        """Begin to drain: report not ready to load balancers, but still serve what arrives."""
        self.phase = Phase.DRAINING

    def fail(self, sentence: str) -> None:
        """Enter the phase failed: this process will not serve the model any more."""
        self.failure, self.phase = sentence, Phase.FAILED

    def dead(self) -> str:
        """Return why only a restart can help; empty if none is needed."""
        if self.served is not None:
            alive = self.served.engine.alive
            return "" if alive else "the engine has stopped or is stuck in a step"
        if self.phase is not Phase.LOADING or self.start_seconds is None:
            return ""
        still = self.progress.seconds_still
        if still <= STILL_SECONDS or self.clock() - self._began <= self.start_seconds:
            return ""
        return (
            f"the start exceeded {self.start_seconds:.0f} s and has made no progress for "
            f"{still:.0f} s ({self.progress})"
        )

    def detail(self) -> str:
        """Return a description of the phase."""
        match self.phase:
            case Phase.LOADING:
                return str(self.progress)
            case Phase.READY if self.gang is not None and self.gang.leader:
                return f"ready as a follower of the leader {self.gang.leader}"
            case Phase.READY:
                return "the model takes requests"
            case Phase.DRAINING if self.gang is not None and self.gang.leader:
                return f"shutting down with the leader {self.gang.leader}"
            case Phase.DRAINING:
                return f"shutting down; {self.in_flight} requests in flight"
            case Phase.FAILED | Phase.HELD:
                return self.failure

    def request_began(self) -> None:
        """Count the start of a request."""
        self.in_flight += 1
        self.idle.clear()

    def request_ended(self) -> None:
        """Count the end of a request."""
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()
