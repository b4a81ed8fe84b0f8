"""How far a model server is with its model, from what its /health/ready answers.

Told in steps of ten percent, so that the status is written a few times and not once a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

DOWNLOADING = "Downloading"
LOADING = "Loading"
WARMING_UP = "WarmingUp"

# First word of the server's `detail` while it is about that; everything else is loading, too.
STAGES = {"downloading": DOWNLOADING, "loading": LOADING, "making": WARMING_UP}
WORDS = {
    DOWNLOADING: "Downloading the model",
    LOADING: "Loading the model",
    WARMING_UP: "Warming up",
}
STEP_PERCENT = 10
# Bytes and seconds beyond which a server does not mean what it says.
MOST, LONGEST = 2**60, 10**7
TEXT = 1000


@dataclass(frozen=True)
class Network:
    """What the pods of a replica have found out about the network between them.

    Attributes:
        transport: By what data travels, as the server names it.
        speed: Of an all-reduce over all of them, in GB/s.
        problem: Why it will not do, as a sentence; empty where it does.
    """

    transport: str
    speed: float
    problem: str = ""

    @classmethod
    def of(cls, answer: Any) -> "Network | None":
        """What an answer says, None where it says nothing."""
        if not isinstance(answer, Mapping) or not answer.get("transport"):
            return None
        speed = answer.get("gigabytesPerSecond")
        return cls(
            str(answer["transport"])[:TEXT],
            float(speed) if isinstance(speed, int | float) else 0.0,
            str(answer.get("problem") or "")[:TEXT],
        )

    def __str__(self) -> str:
        return f"They exchange data over {self.transport}, {self.speed:.3g} GB/s in an all-reduce."


@dataclass(frozen=True)
class Loading:
    """How far a server is.

    Attributes:
        stage: One of the reasons above.
        percent: Of the stage's bytes, in steps; None where the stage has none.
        size: All bytes of the stage.
        left: Seconds that the stage would still take when this was said, 0 while nobody can tell.
        ends: When it will be over, then.
        network: Of a replica of several pods, what is between them.
    """

    stage: str
    percent: int | None = None
    size: int = 0
    left: int = 0
    ends: datetime | None = None
    network: Network | None = None

    @classmethod
    def of(cls, answer: Any, now: datetime, before: "Loading | None") -> "Loading | None":
        """What an answer says; `before` itself where that is no news; None where it says nothing."""
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
        said = cls(STAGES.get(word, LOADING), percent, size, left, ends, network)
        return before if before and not said._differs(before) else said

    def _differs(self, before: "Loading") -> bool:
        """Whether it tells more than a moment ago; when it ends is told once for every step."""
        told = [(item.stage, item.percent, item.size, item.network) for item in (self, before)]
        return told[0] != told[1] or (before.ends is None and self.ends is not None)

    def __str__(self) -> str:
        if self.percent is None:
            return WORDS[self.stage]
        left = f", about {_duration(self.left)} left" if self.left else ""
        return f"{WORDS[self.stage]}: {self.percent} % of {_bytes(self.size)}{left}"


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
