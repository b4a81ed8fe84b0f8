"""A whole second set: started, checked by real requests, then it takes all requests at once.

    the candidate comes up      as many replicas as serve now; the Service has the old set alone
    all serve and have answered the Service has the new set alone, in one write
    keepOld is over             the old set goes

As long as the old set is there, an abort, or the old spec again, gives it the requests back.
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
    """The record after one more look, at what the newest spec asks for (`faced`)."""
    if not record.candidate:
        return record
    rules, now = situation.rules, situation.now
    insisted = record.candidate == rules.promote
    if record.switched:
        if not insisted and not situation.candidate.ready and situation.stable.ready:
            return record.rolled_back(
                LOST, "After the switch no replica of it served any more.", now
            )
        over = now - record.switched >= timedelta(seconds=seconds(rules.blue_green.keep_old))
        return record.promoted() if over else record
    if not insisted and (situation.broken or situation.check is False):
        reason = BROKEN if situation.broken else CHECK_FAILED
        return record.rolled_back(reason, situation.broken or situation.problem, now)
    may = insisted or (situation.check and not rules.hold)
    return replace(record, switched=now) if may and complete(record, situation) else record


def complete(record: Record, situation: Situation) -> bool:
    """Whether the whole second set serves."""
    candidate = situation.candidate
    return candidate.revision == record.candidate and candidate.serves(situation.wanted)


def sizes(record: Record, situation: Situation) -> tuple[int, int]:
    """Replicas of the stable set, and of the candidate; what the old one had it keeps."""
    if record.switched:
        return situation.stable.wanted, situation.wanted
    return situation.wanted, situation.wanted if record.candidate else 0


def traffic(record: Record, situation: Situation) -> Traffic:
    """Who gets the requests while the record says this."""
    if not record.switched:
        return alone(record, situation)
    return Traffic({record.stable: 0, record.place: 100}, (record.place,))
