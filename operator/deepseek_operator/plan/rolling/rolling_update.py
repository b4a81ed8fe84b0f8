"""Rolling updates: the surge and unavailability of the next step.

A Deployment's strategy can't express "surge if a GPU is free, else in place". So the operator decides
it before a new pod template is applied, and again while old pods are being replaced:

    a suitable GPU is free     -> surge: one extra pod, none unavailable
    no suitable GPU is free    -> in place: no extra pod, one unavailable
    a pod finds no node        -> in place, with one unavailable for each such pod: surge withdrawn

Within one rollout a step only moves down this list, which prevents flapping; the exception is that a
busy GPU may become free once, before a surge was withdrawn. The step is stored in an annotation of the
Deployment, beside the hash of its pod template, so a restarted operator continues from it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.state.observed import DeploymentView, PodView

# After this time without a node a pod is taken to wait for capacity that will not come.
PENDING_SECONDS = 30.0
# In place, another serving replica is stopped only for a pod that has waited this long.
STUCK_SECONDS = 300.0
# Interval at which a rollout in place checks for a free GPU.
LOOK_SECONDS = 15.0
# Pods of a lost node stay terminating: a pod overdue by this much will not free its GPUs.
OVERDUE = timedelta(seconds=30)


class Why(StrEnum):
    """The cause of a step."""

    FREE = "free"
    BUSY = "busy"
    WAIT = "wait"
    WITHDRAWN = "withdrawn"
    ALONE = "alone"


@dataclass(frozen=True)
class Step:
    """The surge and unavailability of a rolling update.

    Attributes:
        unavailable: Number of replicas that may be unavailable.
    """

    why: Why
    unavailable: int = 0

    @property
    def surge(self) -> int:
        """Number of extra pods."""
        return 0 if self.unavailable else 1

    def __str__(self) -> str:
        return f"{self.why}/{self.unavailable}"

    @classmethod
    def parse(cls, text: str | None) -> "Step | None":
        """Parse the step of an annotation, None if it is not valid."""
        why, _, number = (text or "").partition("/")
        if why not in list(Why) or not number.isdigit():
            return None
        return cls(Why(why), int(number))


SURGE = Step(Why.FREE)
IN_PLACE = Step(Why.BUSY, 1)
WAIT = Step(Why.WAIT)
# LeaderWorkerSet does not surge a single replica (0.8 reclaims the surge at once).
ALONE = Step(Why.ALONE, 1)


@dataclass(frozen=True)
class RolloutInput:
    """The input of a step decision.

    Attributes:
        policy: `spec.rollout`.
        wanted: Desired replicas.
        changed: Whether the pod template to apply differs from the live one.
        deployment: The live Deployment.
        pods: Its pods that are not terminating.
        leaving: Deadlines of its terminating pods.
        free: Free slots for further pods, None if not determined.
    """

    policy: Rollout
    wanted: int
    changed: bool
    deployment: DeploymentView
    pods: tuple[PodView, ...]
    leaving: tuple[datetime, ...]
    free: int | None
    now: datetime

    @property
    def rolling(self) -> bool:
        """Whether old pods are being replaced, by the Deployment's observed status."""
        return self.deployment.settled and self.deployment.rolling

    @property
    def unplaced(self) -> list[PodView]:
        """Pods without a node."""
        return [pod for pod in self.pods if not pod.scheduled]

    @property
    def freeing(self) -> bool:
        """Whether a terminating pod is about to free its GPUs."""
        return any(self.now < end + OVERDUE for end in self.leaving)

    def waiting(self, seconds: float) -> int:
        """Return the number of pods unscheduled for so many seconds; 0 while a pod frees GPUs."""
        if self.freeing:
            return 0
        return sum(self.pending(pod) >= seconds for pod in self.unplaced)

    def pending(self, pod: PodView) -> float:
        """Return the seconds for which a pod has been unschedulable; 0 before the first attempt."""
        if pod.unscheduled_since is None:
            return 0.0
        return (self.now - pod.unscheduled_since).total_seconds()

    @property
    def spare(self) -> int:
        """Free slots that no pending or missing pod of this resource will take."""
        missing = max(0, self.wanted - len(self.pods))
        extra = max(0, len(self.pods) - self.wanted)
        # A surge pod that is not ready yet already occupies its slot.
        surging = min(extra, sum(pod.scheduled and not pod.ready for pod in self.pods))
        ours = sum(self.now < end + OVERDUE for end in self.leaving) + surging
        return (self.free or 0) + ours - missing - len(self.unplaced)


def needs_free_slots(inputs: RolloutInput, live: Step | None, devices: bool) -> bool:
    """Tell whether the decision depends on the number of free GPUs.

    Args:
        inputs: The input, with `free` not determined yet.
        live: The step of the live Deployment.
        devices: Whether the pods request GPUs.
    """
    if not devices or inputs.policy.when_no_gpu_is_free == "wait":
        return False
    if inputs.changed:
        return inputs.deployment.replicas > 0
    return live is not None and live.why is Why.BUSY and _steady(inputs)


def _steady(inputs: RolloutInput) -> bool:
    """Tell whether all pods of a rollout have nodes, so that a free GPU is available for a surge."""
    return (
        inputs.rolling
        and not inputs.unplaced
        and not inputs.freeing
        and len(inputs.pods) >= inputs.wanted
    )


def next_step(inputs: RolloutInput, live: Step | None) -> Step:
    """Return the step to apply to the Deployment.

    Args:
        inputs: The input, with `free` determined if `needs_free_slots` requires it.
        live: The step of the live Deployment, None if it has none.
    """
    if live is None or inputs.changed:
        return _first(inputs)
    if not inputs.rolling:
        return live
    if inputs.policy.when_no_gpu_is_free == "wait":
        return WAIT
    if live.surge:
        waiting = min(inputs.waiting(PENDING_SECONDS), inputs.wanted)
        return Step(Why.WITHDRAWN, waiting) if waiting else replace(live, why=Why.FREE)
    waiting = inputs.waiting(STUCK_SECONDS)
    if waiting and len(inputs.pods) <= inputs.wanted:
        return replace(live, unavailable=max(live.unavailable, min(1 + waiting, inputs.wanted)))
    if live.why is Why.BUSY and _steady(inputs) and inputs.spare > 0:
        return SURGE
    return live


def _first(inputs: RolloutInput) -> Step:
    """Return the first step for a new pod template."""
    if inputs.policy.when_no_gpu_is_free == "wait":
        return WAIT
    # `free` is not determined if there is nothing to replace, or no GPU is needed.
    return SURGE if inputs.free is None or inputs.spare > 0 else IN_PLACE


def seconds_to_next_look(inputs: RolloutInput, step: Step) -> float | None:
    """Return the seconds until the step may change without an event, None for never."""
    if not inputs.rolling or step.why is Why.WAIT:
        return None
    limit = PENDING_SECONDS if step.surge else STUCK_SECONDS
    left = [
        limit - inputs.pending(pod) for pod in inputs.unplaced if pod.unscheduled_since is not None
    ]
    waits = [seconds if seconds > 0 else LOOK_SECONDS for seconds in left]
    if step.why is Why.BUSY:
        waits.append(LOOK_SECONDS)
    return min(waits, default=None)
