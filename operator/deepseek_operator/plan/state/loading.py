"""Load progress of a model server, parsed from its /health/ready response.

Progress is rounded to steps of ten percent, so that the status is not written every second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

DOWNLOADING = "Downloading"
LOADING = "Loading"
WARMING_UP = "WarmingUp"

# First word of the server's `detail` by stage; any other word counts as loading.
STAGES = {"downloading": DOWNLOADING, "loading": LOADING, "making": WARMING_UP}
DESCRIPTIONS = {
    DOWNLOADING: "Downloading the model",
    LOADING: "Loading the model",
    WARMING_UP: "Warming up",
}
STEP_PERCENT = 10
# Bytes and seconds beyond which a server's numbers are implausible.
MOST, LONGEST = 2**60, 10**7
TEXT = 1000


@dataclass(frozen=True)
class Network:
    """The network between the pods of a replica, as the preflight measured it.

    Attributes:
        transport: Transport by the server's name.
        speed: Bandwidth of an all-reduce over all pods, in GB/s.
        problem: Why it is insufficient, as a sentence; empty if it is sufficient.
    """

    transport: str
    speed: float
    problem: str = ""

    @classmethod
    def of(cls, answer: Any) -> "Network | None":
        """Parse the `gang` part of a response, None if it has no result."""
        if not isinstance(answer, Mapping) or not answer.get("transport"):
            return None
        speed = answer.get("gigabytesPerSecond")
        return cls(
            str(answer["transport"])[:TEXT],
            float(speed) if isinstance(speed, int | float) else 0.0,
            str(answer.get("problem") or "")[:TEXT],
        )

    def __str__(self) -> str:
        return f"Transport {self.transport}, all-reduce bandwidth {self.speed:.3g} GB/s."


@dataclass(frozen=True)
class Loading:
    """The load progress of a server.

    Attributes:
        stage: One of the reasons above.
        percent: Of the stage's bytes, in steps; None where the stage has none.
        size: All bytes of the stage.
        left: Seconds left in the stage at the time of the response, 0 if unknown.
        ends: Estimated end of the stage.
        network: Network between the pods of a multi-pod replica.
    """

    stage: str
    percent: int | None = None
    size: int = 0
    left: int = 0
    ends: datetime | None = None
    network: Network | None = None

    @classmethod
    def of(cls, answer: Any, now: datetime, before: "Loading | None") -> "Loading | None":
        """Parse a response; return `before` itself if nothing changed, None if nothing is loading."""
        if not isinstance(answer, Mapping) or answer.get("status") != "loading":
            return None
        word = str(answer.get("detail", "")).partition(" ")[0]
        loaded, size, left = (
            min(max(value, 0), MOST) if isinstance(value := answer.get(name), int) else 0
            for name in ("loadedBytes", "totalBytes", "secondsLeft")
        )
        left = min(left, LONGEST)
        percent = min(100, 100 * loaded // size) // STEP_PERCENT * STEP_PERCENT if size else None
        ends = (now + timedelta(seconds=left)).replace(microsecond=0) if left else None
        network = Network.of(answer.get("gang")) or (before.network if before else None)
        progress = cls(STAGES.get(word, LOADING), percent, size, left, ends, network)
        return before if before and not progress._differs(before) else progress

    def _differs(self, before: "Loading") -> bool:
        """Tell whether the progress changed; the estimated end counts once for every step."""
        shown = [(item.stage, item.percent, item.size, item.network) for item in (self, before)]
        return shown[0] != shown[1] or (before.ends is None and self.ends is not None)

    def __str__(self) -> str:
        if self.percent is None:
            return DESCRIPTIONS[self.stage]
        left = f", about {_duration(self.left)} left" if self.left else ""
        return f"{DESCRIPTIONS[self.stage]}: {self.percent} % of {_bytes(self.size)}{left}"


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
