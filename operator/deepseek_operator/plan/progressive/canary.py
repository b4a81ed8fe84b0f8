"""Canary: the candidate receives a growing share of the requests and is compared at every step.

    step i      as many replicas as its weight requires; when all of them serve and are past their
                warm-up, the comparison begins; it ends after the pause, once it has passed
    last step   the candidate replaces the stable set replica by replica, and is promoted when all serve

A candidate that is worse, or can't serve, is removed at once. One that the spec no longer requests keeps
serving until the stable set has back the replicas that made room for it. If no GPU is free, candidate
replicas replace stable ones one at a time; the last stable replica is kept until the last step.
"""

from dataclasses import replace
from datetime import timedelta
from math import ceil

from deepseek_operator.api.rollout import seconds
from deepseek_operator.plan.progressive.analysis import Verdict, judge
from deepseek_operator.plan.progressive.progression import Situation, Traffic, alone, leaves
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.progressive.samples import together
from deepseek_operator.plan.state.labels import BLUE, GREEN

WORSE = "AnalysisFailed"
BROKEN = "CandidateFailed"
# Most servers of a set that are compared; their baselines have to fit into an annotation.
COMPARED = 32


def verdict(record: Record, situation: Situation) -> Verdict | None:
    """Return the result of the comparison, None while none has begun."""
    if not record.candidate or record.since is None:
        return None
    if situation.unread:
        return Verdict("inconclusive", situation.unread)
    stable, candidate = (
        together(situation.samples.get(slot, {}), record.marks)
        for slot in (record.stable, record.place)
    )
    return judge(situation.rules.canary.analysis, stable, candidate)


def advance(record: Record, situation: Situation) -> Record:
    """Return the next state of the rollout, for a record that matches the newest spec (`faced`)."""
    if not record.candidate or leaves(record, situation):
        return record
    rules, now = situation.rules, situation.now
    last = len(rules.canary.steps)
    record = replace(record, step=min(record.step, last))
    if record.candidate == rules.promote:
        # The user promotes this revision, so findings and analysis are ignored.
        record = record if record.step == last else record.stepped(last)
    elif situation.broken and (situation.stable.ready or not situation.candidate.ready):
        # If only the candidate serves, one broken replica is no reason to remove the others.
        return record.rolled_back(BROKEN, situation.broken, now)
    else:
        said = verdict(record, situation)
        if said and said.outcome == "fail":
            return record.rolled_back(WORSE, said.message, now)
        if record.step < last and record.since and said and said.outcome == "pass":
            pause = timedelta(seconds=seconds(rules.canary.steps[record.step].pause))
            if now - record.since >= pause and not rules.hold:
                record = record.stepped(record.step + 1)
    if record.step == last and situation.candidate.serves(situation.wanted):
        return record.promoted()
    return _compared(record, situation)


def _compared(record: Record, situation: Situation) -> Record:
    """Add baselines for servers that have none, once all replicas of the step serve."""
    samples = situation.samples
    if record.since is None:
        ours = samples.get(record.place, {})
        ready = min(situation.candidate.ready, COMPARED)
        whole = situation.candidate.revision == record.candidate and situation.candidate.serves(
            aim(record, situation)
        )
        if not whole or len(ours) < ready or not samples.get(record.stable):
            return record
        record = replace(record, since=situation.now)
    new = {
        name: sample.mark
        for slot in (BLUE, GREEN)
        for name, sample in samples.get(slot, {}).items()
        if name not in record.marks
    }
    return replace(record, marks={**record.marks, **new}) if new else record


def aim(record: Record, situation: Situation) -> int:
    """Return the number of candidate replicas for the current step."""
    steps = situation.rules.canary.steps
    if record.step >= len(steps):
        return situation.wanted
    return max(1, ceil(situation.wanted * steps[record.step].weight / 100))


def sizes(record: Record, situation: Situation) -> tuple[int, int]:
    """Return the replicas of the stable set and of the candidate."""
    wanted, candidate = situation.wanted, situation.candidate
    if not record.candidate:
        return wanted, 0
    if leaves(record, situation):
        return wanted, min(candidate.wanted, max(0, situation.least - situation.stable.ready))
    most = aim(record, situation)
    if situation.room is None:
        return wanted, most
    spare = situation.room - situation.stable.placed - candidate.placed
    asked = candidate.wanted if candidate.revision == record.candidate else 0
    ours = min(most, max(asked, candidate.ready + max(1, spare)))
    if situation.scaled or situation.rules.when_no_gpu_is_free == "wait":
        return wanted, ours
    least = 0 if record.step >= len(situation.rules.canary.steps) else 1
    return min(wanted, max(situation.room - ours, wanted - ours, least)), ours


def traffic(record: Record, situation: Situation) -> Traffic:
    """Return the distribution of requests over the sets for the present state."""
    stable, candidate = situation.stable, situation.candidate
    usable = candidate.ready and not candidate.rolling and candidate.revision == record.candidate
    if not record.candidate or not usable:
        return alone(record, situation)
    steps = situation.rules.canary.steps
    share = _share(record, situation)
    if not stable.ready:
        weight = 100
    elif leaves(record, situation):
        weight = share
    elif record.step >= len(steps):
        weight = max(steps[-1].weight, share)
    else:
        whole = candidate.serves(aim(record, situation))
        reached = record.step if whole else record.step - 1
        weight = steps[reached].weight if reached >= 0 else min(steps[0].weight, share)
    return Traffic({record.stable: 100 - weight, record.place: weight}, (BLUE, GREEN))


def _share(record: Record, situation: Situation) -> int:
    """Return the candidate's percentage of the ready pods, which is its share of the requests."""
    ready = situation.stable.ready + situation.candidate.ready
    return round(100 * situation.candidate.ready / ready) if ready else 0


def weight(record: Record, situation: Situation) -> int:
    """Return the percentage of the requests that the candidate receives now."""
    given = traffic(record, situation)
    if situation.routed or len(given.common) == 1:
        return given.weights[record.place]
    return _share(record, situation) if record.candidate else 0
