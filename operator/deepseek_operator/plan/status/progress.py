"""Progress of a resource: whether it is complete, and the rollout under way, with messages."""

from deepseek_operator.api.status import RolloutStatus
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis.findings import Finding
from deepseek_operator.plan.rolling.rolling_update import PENDING_SECONDS, SURGE, Step, Why
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.status.rollout_status import (
    CHECKING,
    COMPARING,
    HELD,
    LEAVES,
    ROLLED_BACK,
    STARTING,
    SWITCHED,
    TAKES_OVER,
)

SURGE_WITHDRAWN = "SurgeWithdrawn"

# Reason and message of the rollout status, by the cause of the rollout step.
REASONS = {
    Why.FREE: (
        "RoomForOneMore",
        "Each new replica serves before an old one is stopped, as long as there is room for one more.",
    ),
    Why.BUSY: (
        "NoGpuFree",
        "No suitable GPU is free: each old replica is stopped before its replacement starts on its "
        "GPUs.",
    ),
    Why.WAIT: (
        "WaitsForGpu",
        "Each new replica waits for a free GPU while all old replicas serve, because "
        "rollout.whenNoGpuIsFree is wait.",
    ),
    Why.ALONE: (
        "SingleReplica",
        "LeaderWorkerSet does not surge a single replica: it is stopped before its replacement "
        "starts. With two or more replicas, one serves all the time.",
    ),
    Why.WITHDRAWN: (
        SURGE_WITHDRAWN,
        f"A new replica found no node within {PENDING_SECONDS:.0f} s: old replicas are now stopped "
        "before their replacements start.",
    ),
}


def complete(desired: DesiredState, observed: Observed) -> bool:
    """Tell whether all requested replicas serve the newest spec and no others are left."""
    if observed.change is not None:
        return False
    deployment = observed.deployment
    counts = {deployment.replicas, deployment.updated, observed.ready}
    return deployment.settled and counts == {desired.replicas}


def rollout(
    desired: DesiredState, observed: Observed, before: RolloutStatus | None, now: str
) -> RolloutStatus | None:
    """Return the status of the rollout under way, None if there is none.

    A rollout starts when a new pod template is applied to running pods, and ends when every replica
    serves it.
    """
    if observed.change is not None:
        return observed.change
    if not desired.replicas or complete(desired, observed):
        return None
    if not (before or observed.changed or observed.deployment.rolling):
        return None
    step = Step.parse(observed.deployment.step) or SURGE
    reason, message = REASONS[step.why]
    return RolloutStatus(
        mode="surge" if step.surge else "inPlace",
        reason=reason,
        message=message,
        updated_replicas=_updated(observed, before),
        start_time=before.start_time if before else now,
    )


def _updated(observed: Observed, before: RolloutStatus | None) -> int:
    """Return the number of updated replicas.

    Until the Deployment's controller has observed the new template, its count is about the old one.
    """
    if observed.deployment.settled:
        return observed.deployment.updated
    return before.updated_replicas if before and not observed.changed else 0


def summary(
    desired: DesiredState, observed: Observed, under_way: RolloutStatus, finding: Finding | None
) -> str:
    """Return the rollout as one line for the phase."""
    serve = f"{min(observed.ready, desired.replicas)} of {desired.replicas} serve"
    if under_way.strategy != "auto":
        return f"{_summary(under_way)}; {serve}"
    mode = "surge" if under_way.mode == "surge" else "in place"
    new = f"{under_way.updated_replicas} of {desired.replicas} replicas new"
    doing = f": {finding.summary[0].lower()}{finding.summary[1:]}" if finding else ""
    return f"Rolling out ({mode}), {new}{doing}; {serve}"


def _summary(change: RolloutStatus) -> str:
    """Return a canary or blue-green rollout in a few words."""
    if change.reason == ROLLED_BACK:
        why = change.message.partition("). ")[2]
        return f"Rolled back: {why.split('. ')[0].rstrip('.')}"
    new = f"revision {change.revision}"
    if change.strategy == "blueGreen":
        return f"Blue-green, {new}: {BLUE_GREEN[change.reason]}"
    doing = CANARY[change.reason]
    return f"Canary {change.step}/{change.steps} ({change.weight} %), {new}: {doing}"


CANARY = {
    STARTING: "starting",
    COMPARING: "comparing",
    HELD: "paused",
    TAKES_OVER: "promoting",
    LEAVES: "removing",
}
BLUE_GREEN = {
    STARTING: "starting",
    CHECKING: "smoke requests",
    HELD: "paused",
    SWITCHED: "serving, the old set is kept",
}
