"""Rollout status and messages of a canary or blue-green rollout."""

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
    """Return the rollout status, None if no rollout is under way and none has failed.

    Args:
        record: The state of the rollout.
        situation: The input that was decided on.
        verdict: The result of the canary analysis.
        finding: Why the candidate does not serve.
        before: The previous rollout status.
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
    """Return the percentage of the requests that the candidate receives."""
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
            f"Revision {record.candidate} is being removed: {ready} of its replicas keep serving until "
            f"the stable set has {situation.least} ready replicas (now {situation.stable.ready}).",
        )
    if record.step >= len(steps):
        return (
            TAKES_OVER,
            f"Revision {record.candidate} is being promoted: {ready} of {situation.wanted} replicas are "
            "serving." + doing,
        )
    step = steps[record.step]
    at = f"Step {record.step + 1} of {len(steps)} ({step.weight} %), revision {record.candidate}"
    if record.since is None:
        wanted = canary.aim(record, situation)
        if ready < wanted:
            return STARTING, f"{at}: {ready} of {wanted} canary replicas are serving.{doing}"
        words = situation.unread or "waiting for the warm-up of its replicas, which does not count."
        return STARTING, f"{at}: {words}"
    left = seconds(step.pause) - (situation.now - record.since).total_seconds()
    figures = verdict.message if verdict else ""
    share = _share(record, situation, step.weight)
    if rules.hold and left <= 0 and verdict and verdict.outcome == "pass":
        return HELD, f"{at}: paused because rollout.hold is true.{share} {figures}"
    return COMPARING, f"{at}: comparing with revision {record.revision}.{share} {figures}"


def _share(record: Record, situation: Situation, weight: int) -> str:
    """Return a note on the actual share of requests, where pod counts decide it."""
    given = canary.weight(record, situation)
    if situation.routed or given == weight:
        return ""
    return f" Without a route the pod counts decide: it receives {given} % of the requests."


def _blue_green(record: Record, situation: Situation, doing: str) -> tuple[str, str]:
    keep = situation.rules.blue_green.keep_old
    ready = f"{situation.candidate.ready} of {situation.wanted} replicas are serving"
    new = f"Revision {record.candidate}"
    if record.switched:
        return (
            SWITCHED,
            f"{new} has received all requests since {record.switched:%Y-%m-%dT%H:%M:%SZ}; revision "
            f"{record.revision} is kept for {keep} after the switch.",
        )
    if situation.candidate.ready < situation.wanted or situation.candidate.rolling:
        return STARTING, f"{new} is starting: {ready}.{doing}"
    if situation.rules.hold:
        return HELD, f"{new} is ready ({ready}); the switch is paused because rollout.hold is true."
    return (
        CHECKING,
        f"{new} is being checked with smoke requests before it receives client requests.",
    )
