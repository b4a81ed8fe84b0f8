"""Rollout status and messages of a canary or blue-green rollout."""

from deepseek_operator.api.rollout import seconds
from deepseek_operator.api.status import AnalysisStatus, RolloutStatus
from deepseek_operator.plan.diagnosis.findings import Finding
from deepseek_operator.plan.progressive import canary
from deepseek_operator.plan.progressive.analysis import Verdict
from deepseek_operator.plan.progressive.progression import ProgressiveInput, is_obsolete
from deepseek_operator.plan.progressive.rollout_state import RolloutState

ROLLED_BACK = "RolledBack"
STARTING = "NewSetStarts"
COMPARING = "Comparing"
HELD = "Held"
TAKES_OVER = "TakesOver"
LEAVES = "Leaves"
CHECKING = "Checking"
SWITCHED = "Switched"


def rollout_status(
    state: RolloutState,
    inputs: ProgressiveInput,
    verdict: Verdict | None,
    finding: Finding | None,
    before: RolloutStatus | None,
    now: str,
) -> RolloutStatus | None:
    """Return the rollout status, None if no rollout is under way and none has failed.

    Args:
        state: The state of the rollout.
        inputs: The input that was decided on.
        verdict: The result of the canary analysis.
        finding: Why the candidate does not serve.
        before: The previous rollout status.
        now: The time as RFC 3339.
    """
    strategy = inputs.rules.strategy
    if state.failed and state.failed.revision == inputs.newest:
        failed = state.failed
        return RolloutStatus(
            strategy=strategy,
            revision=failed.revision,
            stable_revision=state.revision,
            weight=0,
            reason=ROLLED_BACK,
            message=f"Revision {failed.revision} was rolled back ({failed.reason}). {failed.message}",
            updated_replicas=0,
            start_time=failed.time,
        )
    if not state.candidate:
        return None
    blue_green = strategy == "blueGreen"
    doing = f" {finding.message}" if finding else ""
    reason, message = (
        _blue_green(state, inputs, doing) if blue_green else _canary(state, inputs, verdict, doing)
    )
    same = before and before.revision == state.candidate and before.reason != ROLLED_BACK
    steps = None if blue_green else len(inputs.rules.canary.steps)
    return RolloutStatus(
        strategy=strategy,
        revision=state.candidate,
        stable_revision=state.revision,
        step=min(state.step + 1, steps) if steps else None,
        steps=steps,
        weight=_weight(state, inputs),
        analysis=AnalysisStatus(
            verdict=verdict.outcome, message=verdict.message, requests=verdict.samples
        )
        if verdict
        else None,
        reason=reason,
        message=message,
        updated_replicas=inputs.candidate.ready,
        start_time=before.start_time if same and before else now,
    )


def _weight(state: RolloutState, inputs: ProgressiveInput) -> int:
    """Return the percentage of the requests that the candidate receives."""
    if inputs.rules.strategy == "blueGreen":
        return 100 if state.switched else 0
    return canary.weight(state, inputs)


def _canary(
    state: RolloutState, inputs: ProgressiveInput, verdict: Verdict | None, doing: str
) -> tuple[str, str]:
    rules = inputs.rules
    steps = rules.canary.steps
    ready = inputs.candidate.ready
    if is_obsolete(state, inputs):
        return (
            LEAVES,
            f"Revision {state.candidate} is being removed: {ready} of its replicas keep serving until "
            f"the stable set has {inputs.min_serving} ready replicas (now {inputs.stable.ready}).",
        )
    if state.step >= len(steps):
        return (
            TAKES_OVER,
            f"Revision {state.candidate} is being promoted: {ready} of {inputs.wanted} replicas are "
            "serving." + doing,
        )
    step = steps[state.step]
    at = f"Step {state.step + 1} of {len(steps)} ({step.weight} %), revision {state.candidate}"
    if state.since is None:
        wanted = canary.step_replicas(state, inputs)
        if ready < wanted:
            return STARTING, f"{at}: {ready} of {wanted} canary replicas are serving.{doing}"
        detail = (
            inputs.scrape_error or "waiting for the warm-up of its replicas, which does not count."
        )
        return STARTING, f"{at}: {detail}"
    left = seconds(step.pause) - (inputs.now - state.since).total_seconds()
    figures = verdict.message if verdict else ""
    share = _share(state, inputs, step.weight)
    if rules.hold and left <= 0 and verdict and verdict.outcome == "pass":
        return HELD, f"{at}: paused because rollout.hold is true.{share} {figures}"
    return COMPARING, f"{at}: comparing with revision {state.revision}.{share} {figures}"


def _share(state: RolloutState, inputs: ProgressiveInput, weight: int) -> str:
    """Return a note on the actual share of requests, where pod counts decide it."""
    given = canary.weight(state, inputs)
    if inputs.routed or given == weight:
        return ""
    return f" Without a route the pod counts decide: it receives {given} % of the requests."


def _blue_green(state: RolloutState, inputs: ProgressiveInput, doing: str) -> tuple[str, str]:
    keep = inputs.rules.blue_green.keep_old
    ready = f"{inputs.candidate.ready} of {inputs.wanted} replicas are serving"
    new = f"Revision {state.candidate}"
    if state.switched:
        return (
            SWITCHED,
            f"{new} has received all requests since {state.switched:%Y-%m-%dT%H:%M:%SZ}; revision "
            f"{state.revision} is kept for {keep} after the switch.",
        )
    if inputs.candidate.ready < inputs.wanted or inputs.candidate.rolling:
        return STARTING, f"{new} is starting: {ready}.{doing}"
    if inputs.rules.hold:
        return HELD, f"{new} is ready ({ready}); the switch is paused because rollout.hold is true."
    return (
        CHECKING,
        f"{new} is being checked with smoke requests before it receives client requests.",
    )
