"""Rollout state between two sets of pods, as it is stored across restarts of the operator.

A resource has two colors for sets of pods, `blue` and `green`. One has the stable set. A candidate
starts in the other one and is promoted in place, so that no model is loaded twice. The state is stored
in an annotation of the client Service, because the state and the Service's selector have to change in
one write.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.plan.progressive.samples import Baseline
from deepseek_operator.plan.state.labels import BLUE, GREEN, Color, other


@dataclass(frozen=True)
class Failure:
    """The failure of a revision, which is not retried.

    Attributes:
        reason: Machine-readable, in CamelCase.
        message: What was wrong with it, with the figures.
    """

    revision: str
    reason: str
    message: str
    time: str


@dataclass(frozen=True)
class RolloutState:
    """The state of a rollout.

    Attributes:
        stable: Color of the stable set.
        revision: Its revision.
        candidate: Revision of the other color, empty if there is none.
        step: Index of the canary step; the number of steps while the candidate is promoted.
        since: Start of the comparison of this step, None before it.
        switched: Time at which a blue-green candidate received the requests.
        failed: The last revision that was rolled back.
        baselines: Baseline of the counters by pod, from the start of the comparison.
    """

    stable: Color = BLUE
    revision: str = ""
    candidate: str = ""
    step: int = 0
    since: datetime | None = None
    switched: datetime | None = None
    failed: Failure | None = None
    baselines: Mapping[str, Baseline] = field(default_factory=dict)

    @property
    def candidate_color(self) -> Color:
        """Color of the candidate."""
        return other(self.stable)

    def with_candidate(self, revision: str) -> "RolloutState":
        """Return the state with a new candidate at its first step."""
        return RolloutState(self.stable, self.revision, revision)

    def at_step(self, step: int) -> "RolloutState":
        """Return the state at another step, whose comparison has not begun."""
        return replace(self, step=step, since=None, baselines={})

    def promoted(self) -> "RolloutState":
        """Return the state with the candidate as the stable set."""
        return RolloutState(self.candidate_color, self.candidate)

    def withdrawn(self) -> "RolloutState":
        """Return the state without a candidate."""
        return RolloutState(self.stable, self.revision, failed=self.failed)

    def rolled_back(self, reason: str, message: str, now: datetime) -> "RolloutState":
        """Return the state without the candidate, whose revision is marked as failed."""
        failed = Failure(self.candidate, reason, message, _text(now))
        return RolloutState(self.stable, self.revision, failed=failed)

    def __str__(self) -> str:
        plain: dict[str, Any] = {"stable": self.stable, "revision": self.revision}
        if self.candidate:
            plain |= {"candidate": self.candidate, "step": self.step}
        for name, time in (("since", self.since), ("switched", self.switched)):
            if time:
                plain[name] = _text(time)
        if self.failed:
            plain["failed"] = vars(self.failed)
        if self.baselines:
            plain["marks"] = {name: self.baselines[name].plain for name in sorted(self.baselines)}
        return json.dumps(plain, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str | None) -> "RolloutState | None":
        """Parse the state from an annotation, None if it is not valid."""
        try:
            plain = json.loads(text or "")
            if plain["stable"] not in (BLUE, GREEN):
                return None
            return cls(
                plain["stable"],
                str(plain["revision"]),
                str(plain.get("candidate", "")),
                int(plain.get("step", 0)),
                _time(plain.get("since")),
                _time(plain.get("switched")),
                Failure(**plain["failed"]) if plain.get("failed") else None,
                {name: Baseline.of(baseline) for name, baseline in plain.get("marks", {}).items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
