"""How far a resource is: whether it is complete, and the rollout that is under way, in words."""

from deepseek_operator.api.status import RolloutStatus
from deepseek_operator.plan.desired.desired_state import Target
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

# Why a rollout goes as it does: one word for programs, a sentence for people.
REASONS = {
    Why.FREE: (
        "RoomForOneMore",
        "Each successor serves before a replica is stopped, as long as there is room for one more.",
    ),
    Why.BUSY: (
        "NoGpuFree",
        "No fitting GPU is free: each replica is stopped before its successor starts on its GPUs.",
    ),
    Why.WAIT: (
        "WaitsForGpu",
        "Each successor waits for a free GPU while all replicas serve, because "
        "rollout.whenNoGpuIsFree is wait.",
    ),
    Why.ALONE: (
        "SingleReplica",
        "LeaderWorkerSet makes no second replica beside a single one: it is stopped before its "
        "successor starts. With two replicas or more one serves all the time.",
    ),
    Why.WITHDRAWN: (
        SURGE_WITHDRAWN,
        f"A successor found no node within {PENDING_SECONDS:.0f} s: replicas are stopped before "
        "their successors start.",
    ),
}


def complete(target: Target, observed: Observed) -> bool:
    """Whether as many replicas as asked for serve the newest spec, and no others are left."""
    if observed.change is not None:
        return False
    deployment = observed.deployment
    counts = {deployment.replicas, deployment.updated, observed.ready}
    return deployment.settled and counts == {target.replicas}


def rollout(
    target: Target, observed: Observed, before: RolloutStatus | None, now: str
) -> RolloutStatus | None:
    """The rollout that is under way, None where none is.

    It starts when a new pod template meets running pods, and ends when every replica serves it.
    """
    if observed.change is not None:
        return observed.change
    if not target.replicas or complete(target, observed):
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
    """New replicas; until the Deployment's controller has seen the new template it counts old ones."""
    if observed.deployment.settled:
        return observed.deployment.updated
    return before.updated_replicas if before and not observed.changed else 0


def words(
    target: Target, observed: Observed, under_way: RolloutStatus, finding: Finding | None
) -> str:
    """A rollout in one line."""
    serve = f"{min(observed.ready, target.replicas)} of {target.replicas} serve"
    if under_way.strategy != "auto":
        return f"{_summary(under_way)}; {serve}"
    mode = "surge" if under_way.mode == "surge" else "in place"
    new = f"{under_way.updated_replicas} of {target.replicas} replicas new"
    doing = f": {finding.summary[0].lower()}{finding.summary[1:]}" if finding else ""
    return f"Rolling out ({mode}), {new}{doing}; {serve}"


def _summary(change: RolloutStatus) -> str:
    """A change between two sets in a few words."""
    if change.reason == ROLLED_BACK:
        why = change.message.partition("). ")[2]
        return f"Rolled back: {why.split('. ')[0].rstrip('.')}"
    new = f"revision {change.revision}"
    if change.strategy == "blueGreen":
        return f"Blue-green, {new} {BLUE_GREEN[change.reason]}"
    doing = CANARY[change.reason]
    return f"Canary {change.step}/{change.steps} ({change.weight} %), {new} {doing}"


CANARY = {
    STARTING: "starts",
    COMPARING: "is compared",
    HELD: "is held",
    TAKES_OVER: "takes over",
    LEAVES: "leaves",
}
BLUE_GREEN = {
    STARTING: "comes up",
    CHECKING: "is tried",
    HELD: "is held",
    SWITCHED: "serves, the old set is kept",
}
