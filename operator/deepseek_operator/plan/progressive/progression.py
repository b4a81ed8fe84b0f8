"""The change from one revision to another, as far as canary and blueGreen do the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.progressive.samples import Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN, Slot
from deepseek_operator.plan.state.observed import Observed

ABORTED = "Aborted"


@dataclass(frozen=True)
class SetView:
    """A set of pods.

    Attributes:
        revision: That it was made of, empty where that is not known or there is no set.
        there: Whether there is one at all, or pods of one.
        wanted: Replicas that were asked for last.
        replicas: Replicas that exist.
        placed: Those that have nodes.
        ready: Those that take requests.
        rolling: Whether some may be of an older pod template.
    """

    revision: str = ""
    there: bool = False
    wanted: int = 0
    replicas: int = 0
    placed: int = 0
    ready: int = 0
    rolling: bool = False

    def serves(self, replicas: int) -> bool:
        """Whether exactly so many replicas are there, and all of them serve what they shall."""
        return not self.rolling and self.wanted == self.replicas == replicas <= self.ready

    @classmethod
    def of(cls, observed: Observed) -> "SetView":
        """The view of what was observed of a set."""
        deployment, replicas = observed.deployment, observed.replicas
        there = deployment.wanted is not None
        return cls(
            revision=deployment.revision,
            there=there or bool(replicas),
            wanted=deployment.wanted or 0,
            replicas=len(replicas),
            placed=sum(replica.scheduled for replica in replicas),
            ready=observed.ready,
            rolling=there and (not deployment.settled or deployment.rolling),
        )


@dataclass(frozen=True)
class Situation:
    """What a step is decided on.

    Attributes:
        rules: `spec.rollout`.
        newest: The revision of the spec.
        wanted: Replicas that take requests in the end.
        stable: The set in the stable place.
        candidate: The set in the other place, of whatever revision.
        scaled: Whether load decides how many replicas the stable set has.
        routed: Whether routes give each set its share; else the numbers of pods do.
        room: Places for replicas, ours included; None where nobody had to look.
        broken: Why the candidate will not serve, empty where nothing is known against it.
        samples: By place and pod, what servers have counted that are past their warm-up.
        unread: Why a server of the candidate could not be read, empty where all could.
        check: Whether the candidate has answered real requests, None where that is not known yet.
        problem: What was wrong with its answers.
    """

    rules: Rollout
    newest: str
    wanted: int
    stable: SetView
    candidate: SetView
    now: datetime
    scaled: bool = False
    routed: bool = False
    room: int | None = None
    broken: str = ""
    samples: Mapping[Slot, Mapping[str, Sample]] = field(default_factory=dict)
    unread: str = ""
    check: bool | None = None
    problem: str = ""

    @property
    def least(self) -> int:
        """Replicas that serve at any time: one fewer than are asked for, and never none."""
        return max(1, self.wanted - 1)

    @property
    def turned(self) -> "Situation":
        """With the candidate as the stable set; what was asked about it holds no longer."""
        return replace(
            self,
            stable=self.candidate,
            candidate=self.stable,
            broken="",
            check=None,
        )


@dataclass(frozen=True)
class Traffic:
    """Who gets the requests.

    Attributes:
        weights: Percent by place, for routes.
        common: The places whose pods the Service has that clients use.
    """

    weights: Mapping[Slot, int]
    common: tuple[Slot, ...]


def aimed(record: Record, situation: Situation) -> Record:
    """The record with the candidate that the newest spec asks for."""
    newest, rules = situation.newest, situation.rules
    if record.switched and newest not in (record.revision, record.candidate):
        # What has the requests is what is kept.
        record = record.promoted()
    if leaves(record, situation) and _serves(record, situation):
        if not situation.stable.ready and record.step >= len(rules.canary.steps):
            # It has taken over: what comes now, the way back too, is a change like any other.
            record = record.promoted()
        elif situation.stable.ready < situation.least:
            return record
    if record.failed and record.failed.revision != newest:
        record = replace(record, failed=None)
    if newest == record.revision:
        return record.withdrawn() if record.candidate else record
    if record.failed and newest != rules.promote:
        return record
    if not situation.wanted or not (record.candidate or situation.stable.ready):
        # Nobody serves: there is nothing to lose, and nothing to compare with.
        return Record(record.stable, newest)
    if rules.abort == newest:
        message = "spec.rollout.abort names this revision."
        return replace(record, candidate=newest).rolled_back(ABORTED, message, situation.now)
    return record if newest == record.candidate else record.begun(newest)


def faced(record: Record, situation: Situation) -> tuple[Record, Situation]:
    """The record that the newest spec asks for, and the situation as it looks from there."""
    ahead = aimed(record, situation)
    return ahead, situation if ahead.stable == record.stable else situation.turned


def leaves(record: Record, situation: Situation) -> bool:
    """Whether the candidate is not what the newest spec asks for.

    A canary may have taken the places of stable replicas: it serves on until those are back.
    """
    return record.candidate not in ("", situation.newest)


def _serves(record: Record, situation: Situation) -> bool:
    """Whether the candidate takes requests that others would not."""
    candidate = situation.candidate
    takes = situation.rules.strategy == "canary" and not candidate.rolling
    return takes and candidate.revision == record.candidate and candidate.ready > 0


def settled(record: Record, candidate: SetView, stable: SetView, newest: str) -> Record:
    """The record where the strategy is auto: one set, that which serves."""
    ahead = record.candidate == newest and candidate.ready > stable.ready
    kept = record.promoted() if record.switched or (record.candidate and ahead) else record
    return Record(kept.stable)


def recovered(views: Mapping[Slot, SetView], numbers: Mapping[str, int], newest: str) -> Record:
    """The record that what is in the cluster amounts to, where somebody has deleted it.

    Args:
        views: The sets.
        numbers: Of the revisions that are kept, by name: which came later.
        newest: The revision of the spec.
    """
    there = [slot for slot in (BLUE, GREEN) if views[slot].there]
    there.sort(key=lambda slot: numbers.get(views[slot].revision, 0))
    if not there:
        return Record(BLUE, newest)
    stable = there[0]
    known = [views[slot].revision if views[slot].revision in numbers else "" for slot in there]
    record = Record(stable, known[0] or newest)
    return record.begun(known[1]) if len(there) > 1 and known[0] and known[1] else record


def alone(record: Record, situation: Situation) -> Traffic:
    """All requests for the stable set."""
    common = (record.stable,) if situation.candidate.there or record.candidate else (BLUE, GREEN)
    return Traffic({record.stable: 100, record.place: 0}, common)
