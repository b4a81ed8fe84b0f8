"""How far the change from one set of pods to another is: all that has to be known after a restart.

A resource has two places for sets of pods, `blue` and `green`. One of them has the stable set; a
candidate comes up in the other one, and becomes the stable set where it is, so that no model is
loaded twice. The record stands in an annotation of the Service that clients use, because what it says
and whom that Service selects have to change in one write.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from deepseek_operator.plan.progressive.samples import Mark
from deepseek_operator.plan.state.labels import BLUE, GREEN, Slot, other


@dataclass(frozen=True)
class Failure:
    """Why a revision is not tried again.

    Attributes:
        reason: One CamelCase word for programs.
        message: What was wrong with it, with the figures.
    """

    revision: str
    reason: str
    message: str
    time: str


@dataclass(frozen=True)
class Record:
    """The state of a change.

    Attributes:
        stable: The place of the stable set.
        revision: Its revision.
        candidate: The revision in the other place, empty where there is none.
        step: Which step of a canary; as many as there are steps: it takes over.
        since: When the comparison of this step began, None as long as it has not.
        switched: When the candidate of blueGreen got the requests.
        failed: The last revision that was rolled back.
        marks: By pod, how much it had counted when the comparison began.
    """

    stable: Slot = BLUE
    revision: str = ""
    candidate: str = ""
    step: int = 0
    since: datetime | None = None
    switched: datetime | None = None
    failed: Failure | None = None
    marks: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def place(self) -> Slot:
        """The place of the candidate."""
        return other(self.stable)

    def begun(self, revision: str) -> "Record":
        """With a candidate of a revision, from its first step on."""
        return Record(self.stable, self.revision, revision)

    def stepped(self, step: int) -> "Record":
        """In another step, whose comparison has not begun."""
        return replace(self, step=step, since=None, marks={})

    def promoted(self) -> "Record":
        """With the candidate as the stable set."""
        return Record(self.place, self.candidate)

    def withdrawn(self) -> "Record":
        """Without a candidate."""
        return Record(self.stable, self.revision, failed=self.failed)

    def rolled_back(self, reason: str, message: str, now: datetime) -> "Record":
        """Without a candidate, whose revision is not tried again."""
        failed = Failure(self.candidate, reason, message, _text(now))
        return Record(self.stable, self.revision, failed=failed)

    def __str__(self) -> str:
        plain: dict[str, Any] = {"stable": self.stable, "revision": self.revision}
        if self.candidate:
            plain |= {"candidate": self.candidate, "step": self.step}
        for name, time in (("since", self.since), ("switched", self.switched)):
            if time:
                plain[name] = _text(time)
        if self.failed:
            plain["failed"] = vars(self.failed)
        if self.marks:
            plain["marks"] = {name: self.marks[name].plain for name in sorted(self.marks)}
        return json.dumps(plain, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str | None) -> "Record | None":
        """The record of an annotation, None where it is none of ours."""
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
                {name: Mark.of(mark) for name, mark in plain.get("marks", {}).items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
