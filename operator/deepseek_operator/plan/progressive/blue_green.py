"""Blue-green: a second set starts, passes smoke requests, then receives all requests at once.

    candidate starts        as many replicas as the stable set; the Service selects the stable set
    all ready and checked   the Service selects the candidate, in one write
    keepOld has passed      the old set is removed

While the old set exists, an abort or a revert of the spec switches the requests back to it.
"""

from dataclasses import replace
from datetime import timedelta

from deepseek_operator.api.rollout import seconds
from deepseek_operator.plan.progressive.canary import BROKEN
from deepseek_operator.plan.progressive.progression import Situation, Traffic, alone
from deepseek_operator.plan.progressive.rollout_state import Record

CHECK_FAILED = "CheckFailed"
LOST = "CandidateLost"


def advance(record: Record, situation: Situation) -> Record:
    """Return the next state of the rollout, for a record that matches the newest spec (`faced`)."""
    if not record.candidate:
        return record
    rules, now = situation.rules, situation.now
    insisted = record.candidate == rules.promote
    if record.switched:
        if not insisted and not situation.candidate.ready and situation.stable.ready:
            return record.rolled_back(
                LOST, "No replica of it was ready any more after the switch.", now
            )
        over = now - record.switched >= timedelta(seconds=seconds(rules.blue_green.keep_old))
        return record.promoted() if over else record
    if not insisted and (situation.broken or situation.check is False):
        reason = BROKEN if situation.broken else CHECK_FAILED
        return record.rolled_back(reason, situation.broken or situation.problem, now)
    may = insisted or (situation.check and not rules.hold)
    return replace(record, switched=now) if may and complete(record, situation) else record


def complete(record: Record, situation: Situation) -> bool:
    """Tell whether all replicas of the candidate serve."""
    candidate = situation.candidate
    return candidate.revision == record.candidate and candidate.serves(situation.wanted)


def sizes(record: Record, situation: Situation) -> tuple[int, int]:
    """Return the replicas of the stable set and of the candidate; the old set keeps its size."""
    if record.switched:
        return situation.stable.wanted, situation.wanted
    return situation.wanted, situation.wanted if record.candidate else 0


def traffic(record: Record, situation: Situation) -> Traffic:
    """Return the distribution of requests over the sets for the present state."""
    if not record.switched:
        return alone(record, situation)
    return Traffic({record.stable: 0, record.place: 100}, (record.place,))
