"""What to say about a change between two sets of pods."""

from deepseek_operator.api.rollout import seconds
from deepseek_operator.api.status import AnalysisStatus, RolloutStatus
from deepseek_operator.plan.diagnosis.findings import Finding
from deepseek_operator.plan.progressive import canary
from deepseek_operator.plan.progressive.analysis import Verdict
from deepseek_operator.plan.progressive.progression import Situation, leaves
from deepseek_operator.plan.progressive.rollout_state import Record

ROLLED_BACK = "RolledBack"
STARTING = "NewSetStarts"
COMPARING = "Comparing"
HELD = "Held"
TAKES_OVER = "TakesOver"
LEAVES = "Leaves"
CHECKING = "Checking"
SWITCHED = "Switched"


def said(
    record: Record,
    situation: Situation,
    verdict: Verdict | None,
    finding: Finding | None,
    before: RolloutStatus | None,
    now: str,
) -> RolloutStatus | None:
    """What to say, None where no change is under way and none has failed.

    Args:
        record: How far it is.
        situation: What was decided on.
        verdict: How a canary compares.
        finding: Why the candidate does not serve.
        before: What was said before.
        now: The time as RFC 3339.
    """
    strategy = situation.rules.strategy
    if record.failed and record.failed.revision == situation.newest:
        failed = record.failed
        return RolloutStatus(
            strategy=strategy,
            revision=failed.revision,
            stable_revision=record.revision,
            weight=0,
            reason=ROLLED_BACK,
            message=f"Revision {failed.revision} was rolled back ({failed.reason}). {failed.message}",
            updated_replicas=0,
            start_time=failed.time,
        )
    if not record.candidate:
        return None
    blue_green = strategy == "blueGreen"
    doing = f" {finding.message}" if finding else ""
    reason, message = (
        _blue_green(record, situation, doing)
        if blue_green
        else _canary(record, situation, verdict, doing)
    )
    same = before and before.revision == record.candidate and before.reason != ROLLED_BACK
    steps = None if blue_green else len(situation.rules.canary.steps)
    return RolloutStatus(
        strategy=strategy,
        revision=record.candidate,
        stable_revision=record.revision,
        step=min(record.step + 1, steps) if steps else None,
        steps=steps,
        weight=_weight(record, situation),
        analysis=AnalysisStatus(
            verdict=verdict.outcome, message=verdict.message, requests=verdict.samples
        )
        if verdict
        else None,
        reason=reason,
        message=message,
        updated_replicas=situation.candidate.ready,
        start_time=before.start_time if same and before else now,
    )


def _weight(record: Record, situation: Situation) -> int:
    """Percent of the requests that the new set gets."""
    if situation.rules.strategy == "blueGreen":
        return 100 if record.switched else 0
    return canary.weight(record, situation)


def _canary(
    record: Record, situation: Situation, verdict: Verdict | None, doing: str
) -> tuple[str, str]:
    rules = situation.rules
    steps = rules.canary.steps
    ready = situation.candidate.ready
    if leaves(record, situation):
        return (
            LEAVES,
            f"Revision {record.candidate} leaves: {ready} of its replicas serve until the stable set "
            f"has {situation.least} ready, which now has {situation.stable.ready}.",
        )
    if record.step >= len(steps):
        return (
            TAKES_OVER,
            f"Revision {record.candidate} takes over: {ready} of {situation.wanted} replicas serve."
            + doing,
        )
    step = steps[record.step]
    at = f"Step {record.step + 1} of {len(steps)} ({step.weight} %) of revision {record.candidate}"
    if record.since is None:
        wanted = canary.aim(record, situation)
        if ready < wanted:
            return STARTING, f"{at}: {ready} of {wanted} of its replicas serve.{doing}"
        words = situation.unread or "its replicas warm up, which does not count."
        return STARTING, f"{at}: {words}"
    left = seconds(step.pause) - (situation.now - record.since).total_seconds()
    figures = verdict.message if verdict else ""
    share = _share(record, situation, step.weight)
    if rules.hold and left <= 0 and verdict and verdict.outcome == "pass":
        return HELD, f"{at}: it waits because rollout.hold is true.{share} {figures}"
    return COMPARING, f"{at}: it is compared with revision {record.revision}.{share} {figures}"


def _share(record: Record, situation: Situation, weight: int) -> str:
    """That pods are a coarse measure, where they are the only one."""
    given = canary.weight(record, situation)
    if situation.routed or given == weight:
        return ""
    return f" Without routes the numbers of pods decide: it gets {given} % of the requests."


def _blue_green(record: Record, situation: Situation, doing: str) -> tuple[str, str]:
    keep = situation.rules.blue_green.keep_old
    ready = f"{situation.candidate.ready} of {situation.wanted} replicas serve"
    new = f"Revision {record.candidate}"
    if record.switched:
        return (
            SWITCHED,
            f"{new} has the requests since {record.switched:%Y-%m-%dT%H:%M:%SZ}; revision "
            f"{record.revision} is kept for {keep} after that.",
        )
    if situation.candidate.ready < situation.wanted or situation.candidate.rolling:
        return STARTING, f"{new} comes up beside what serves: {ready}.{doing}"
    if situation.rules.hold:
        return HELD, f"{new} is ready ({ready}) and waits because rollout.hold is true."
    return CHECKING, f"{new} is tried with requests before it gets those of clients."
