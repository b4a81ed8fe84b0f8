"""Rollout from one revision to another: the part that canary and blue-green share."""

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
    """The observed state of a set of pods.

    Attributes:
        revision: Its revision, empty if unknown or if there is no set.
        there: Whether the set, or pods of it, exist.
        wanted: Replicas requested last.
        replicas: Replicas that exist.
        placed: Replicas that are scheduled.
        ready: Replicas that are ready.
        rolling: Whether some pods may have an older pod template.
    """

    revision: str = ""
    there: bool = False
    wanted: int = 0
    replicas: int = 0
    placed: int = 0
    ready: int = 0
    rolling: bool = False

    def serves(self, replicas: int) -> bool:
        """Tell whether exactly so many replicas exist, and all are ready and up to date."""
        return not self.rolling and self.wanted == self.replicas == replicas <= self.ready

    @classmethod
    def of(cls, observed: Observed) -> "SetView":
        """Return the view of the observed state of a set."""
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
    """The input of a canary or blue-green decision.

    Attributes:
        rules: `spec.rollout`.
        newest: The revision of the spec.
        wanted: Replicas that serve after the rollout.
        stable: The stable set.
        candidate: The set of the other color, of any revision.
        scaled: Whether an autoscaler sets the stable set's replicas.
        routed: Whether a route splits the requests by weight; otherwise the pod counts decide.
        room: Slots for replicas, occupied ones included; None if not determined.
        broken: Why the candidate has failed, empty if it has not.
        samples: Metrics of servers past their warm-up, by color and pod.
        unread: Why a server of the candidate could not be scraped, empty if all were.
        check: Whether the candidate passed the smoke requests, None if not known yet.
        problem: Why the smoke requests failed.
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
        """Minimum of serving replicas: one fewer than desired, at least one."""
        return max(1, self.wanted - 1)

    @property
    def turned(self) -> "Situation":
        """The situation with candidate and stable set swapped, and the candidate's checks reset."""
        return replace(
            self,
            stable=self.candidate,
            candidate=self.stable,
            broken="",
            check=None,
        )


@dataclass(frozen=True)
class Traffic:
    """The distribution of requests over the sets.

    Attributes:
        weights: Percentage by color, for routes.
        common: Colors whose pods the client Service selects.
    """

    weights: Mapping[Slot, int]
    common: tuple[Slot, ...]


def aimed(record: Record, situation: Situation) -> Record:
    """Return the record with the candidate that the newest spec requests."""
    newest, rules = situation.newest, situation.rules
    if record.switched and newest not in (record.revision, record.candidate):
        # The set that receives the requests becomes the stable one.
        record = record.promoted()
    if leaves(record, situation) and _serves(record, situation):
        if not situation.stable.ready and record.step >= len(rules.canary.steps):
            # Only the candidate serves, so it counts as promoted; going back is another rollout.
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
        # No replica serves, so there is no availability to protect and no baseline to compare with.
        return Record(record.stable, newest)
    if rules.abort == newest:
        message = "spec.rollout.abort names this revision."
        return replace(record, candidate=newest).rolled_back(ABORTED, message, situation.now)
    return record if newest == record.candidate else record.begun(newest)


def faced(record: Record, situation: Situation) -> tuple[Record, Situation]:
    """Return the record that the newest spec requests, and the situation adapted to it."""
    ahead = aimed(record, situation)
    return ahead, situation if ahead.stable == record.stable else situation.turned


def leaves(record: Record, situation: Situation) -> bool:
    """Tell whether the candidate is no longer requested by the newest spec.

    A canary may have replaced stable replicas: it keeps serving until those are back.
    """
    return record.candidate not in ("", situation.newest)


def _serves(record: Record, situation: Situation) -> bool:
    """Tell whether the candidate of a canary is serving requests."""
    candidate = situation.candidate
    takes = situation.rules.strategy == "canary" and not candidate.rolling
    return takes and candidate.revision == record.candidate and candidate.ready > 0


def settled(record: Record, candidate: SetView, stable: SetView, newest: str) -> Record:
    """Return the record for strategy auto: a single set, the one that serves."""
    ahead = record.candidate == newest and candidate.ready > stable.ready
    kept = record.promoted() if record.switched or (record.candidate and ahead) else record
    return Record(kept.stable)


def recovered(views: Mapping[Slot, SetView], numbers: Mapping[str, int], newest: str) -> Record:
    """Reconstruct a deleted record from the sets in the cluster.

    Args:
        views: The sets.
        numbers: Ordinals of the stored revisions, by name.
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
    """Return the distribution that sends all requests to the stable set."""
    common = (record.stable,) if situation.candidate.there or record.candidate else (BLUE, GREEN)
    return Traffic({record.stable: 100, record.place: 0}, common)
