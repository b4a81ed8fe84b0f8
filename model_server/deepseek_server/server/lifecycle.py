"""Where the server is between its start and its end, and what it serves.

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
from deepseek_server.engine.ipc import Met
from deepseek_server.server.served_model import ServedModel


class Phase(StrEnum):
    """What the server does at the moment."""

    HELD = "held"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


# Seconds in which a start must show some progress once its time is up: as long as a hub's client
# tries again, or as a kernel, which tells nothing of how far it is, takes to compile.
STILL_SECONDS = 600.0
# A speed that was measured for less than this says nothing yet.
_MEASURED_SECONDS = 1.0


@dataclass(frozen=True)
class GangState:
    """The pods that compute the model together, as this one knows them.

    Attributes:
        pods: how many there are.
        world: how many ranks they have.
        host: the machine that this one runs on.
        leader: where the pod is that clients talk to; empty on that one itself.
        met: what lies between them, once they have met.
    """

    pods: int
    world: int
    host: str
    leader: str = ""
    met: Met | None = None

    def told(self) -> dict[str, Any]:
        """As the health routes tell it; the same names at any time, with null where not known."""
        known: dict[str, Any] = dict.fromkeys(
            ("transport", "gigabytesPerSecond", "slowestPair", "problem")
        )
        if self.met is not None:
            known |= {
                "transport": self.met.transport,
                "gigabytesPerSecond": round(self.met.gigabytes_per_second, 3),
                "problem": self.met.problem or None,
            }
            if (pair := self.met.slowest_pair) is not None:
                speed = round(pair.gigabytes_per_second, 3)
                known["slowestPair"] = {"hosts": list(pair.hosts), "gigabytesPerSecond": speed}
        return {"pods": self.pods, "world": self.world, "host": self.host, **known}


class Progress:
    """How far a long step is; written by one thread and read by others.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self._clock = threading.Lock(), clock
        self._stage, self._loaded, self._total = "starting", 0, 0
        self._began = self._moved = clock()

    def begin(self, stage: str, total: int = 0) -> None:
        """A new step, with the bytes it has to move (0: unknown)."""
        with self._lock:
            self._stage, self._loaded, self._total = stage, 0, total
            self._began = self._moved = self._clock()

    def reach(self, loaded: int, total: int | None = None) -> None:
        """So many bytes of the step are done, and of how many if that is known only now."""
        with self._lock:
            if loaded != self._loaded:
                self._moved = self._clock()
            self._loaded = loaded
            if total is not None:
                self._total = total

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes done and bytes in all of the current step."""
        with self._lock:
            return self._loaded, self._total

    @property
    def seconds_still(self) -> float:
        """Seconds since it last got on."""
        with self._lock:
            return self._clock() - self._moved

    @property
    def seconds_left(self) -> int | None:
        """Seconds until the step is done at the speed that it had so far; None: not known yet."""
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
    """A number of bytes as a person writes it: 512 B, 1.5 MiB, 14.2 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@dataclass
class Lifecycle:
    """The server's state, as the health routes show it.

    Attributes:
        start_seconds: what a start may take, if it does not get on; None: as long as it likes.
        clock: seconds that never go back.
        gang: where several pods compute the model together.
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
        """Nothing is to be started for now, for a reason."""
        self.failure, self.phase = sentence, Phase.HELD

    def release(self) -> None:
        """The start begins now, and so does its time."""
        self.failure, self.phase = "", Phase.LOADING
        self._began = self.clock()

    def meet(self, met: Met) -> None:
        """The pods of the model have met."""
        assert self.gang is not None  # noqa: S101 - there are several pods
        self.gang = replace(self.gang, met=met)

    def follow(self) -> None:
        """This pod computes for another one, to which requests go."""
        self.phase = Phase.READY

    def ready(self, served: ServedModel) -> None:
        """The model can take requests from now on."""
        self.served, self.phase = served, Phase.READY

    def drain(self) -> None:
        """Tell load balancers to send no more; what comes all the same is still served."""
        self.phase = Phase.DRAINING

    def fail(self, sentence: str) -> None:
        """The model will never be served by this process."""
        self.failure, self.phase = sentence, Phase.FAILED

    def dead(self) -> str:
        """Why only a restart can help, in words; empty while it would not."""
        if self.served is not None:
            alive = self.served.engine.alive
            return "" if alive else "the engine has stopped, or is stuck in a step"
        if self.phase is not Phase.LOADING or self.start_seconds is None:
            return ""
        still = self.progress.seconds_still
        if still <= STILL_SECONDS or self.clock() - self._began <= self.start_seconds:
            return ""
        return (
            f"the start should have taken {self.start_seconds:.0f} s and has not got on for "
            f"{still:.0f} s ({self.progress})"
        )

    def detail(self) -> str:
        """The phase in words."""
        match self.phase:
            case Phase.LOADING:
                return str(self.progress)
            case Phase.READY if self.gang is not None and self.gang.leader:
                return f"computes for the leader of the model, {self.gang.leader}"
            case Phase.READY:
                return "the model takes requests"
            case Phase.DRAINING if self.gang is not None and self.gang.leader:
                return f"shutting down with the leader of the model, {self.gang.leader}"
            case Phase.DRAINING:
                return f"shutting down; {self.in_flight} requests still run"
            case Phase.FAILED | Phase.HELD:
                return self.failure

    def request_began(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.idle.clear()

    def request_ended(self) -> None:
        """Count a request out."""
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()
