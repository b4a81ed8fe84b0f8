"""The step of a rolling update: with one pod more, or one fewer.

A Deployment's own settings can't say "with one more if a GPU is free, else in place", so its strategy
is decided here, before a new pod template is applied and again while old pods are being replaced:

    a fitting GPU is free      -> surge: one more pod, none fewer
    none is                    -> in place: one pod fewer, none more
    a pod finds no node        -> in place, with as many fewer as find none: the surge is withdrawn

Within one rollout a step only moves down this list (busy may become free once, before anything was
withdrawn), so nothing flaps. The step stands in an annotation of the Deployment, beside the hash of the
pod template that it is for: a restart of the operator goes on from there.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.state.observed import DeploymentView, PodView

# A pod that the scheduler has found no node for in this time waits for something that does not come.
PENDING_SECONDS = 30.0
# In place, one more serving replica is given up only for a pod that has waited this long.
STUCK_SECONDS = 300.0
# How often a rollout in place looks whether a GPU has become free.
LOOK_SECONDS = 15.0
# A node that is lost keeps its pods terminating: what is over its time by this much frees nothing.
OVERDUE = timedelta(seconds=30)


class Why(StrEnum):
    """Why a step is as it is."""

    FREE = "free"
    BUSY = "busy"
    WAIT = "wait"
    WITHDRAWN = "withdrawn"
    ALONE = "alone"


@dataclass(frozen=True)
class Step:
    """How many pods more and fewer than asked for there may be.

    Attributes:
        unavailable: How many fewer may serve.
    """

    why: Why
    unavailable: int = 0

    @property
    def surge(self) -> int:
        """How many pods more there may be."""
        return 0 if self.unavailable else 1

    def __str__(self) -> str:
        return f"{self.why}/{self.unavailable}"

    @classmethod
    def parse(cls, text: str | None) -> "Step | None":
        """The step of an annotation, None where it is none of ours."""
        why, _, number = (text or "").partition("/")
        if why not in list(Why) or not number.isdigit():
            return None
        return cls(Why(why), int(number))


SURGE = Step(Why.FREE)
IN_PLACE = Step(Why.BUSY, 1)
WAIT = Step(Why.WAIT)
# LeaderWorkerSet makes no second replica beside a single one (0.8: it takes the surge back at once).
ALONE = Step(Why.ALONE, 1)


@dataclass(frozen=True)
class Situation:
    """What a step is decided on.

    Attributes:
        policy: `spec.rollout`.
        wanted: Replicas that are asked for.
        changed: Whether the pod template that will be applied is another one than the live one's.
        deployment: The live Deployment.
        pods: Its pods that are not on their way out.
        leaving: When those that are will have to be gone.
        free: Places for one more pod, None where nobody looked.
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
        """Whether old pods are being replaced, as far as the Deployment's controller has told."""
        return self.deployment.settled and self.deployment.rolling

    @property
    def unplaced(self) -> list[PodView]:
        """Pods that have no node."""
        return [pod for pod in self.pods if not pod.scheduled]

    @property
    def freeing(self) -> bool:
        """Whether a pod is about to free what it holds."""
        return any(self.now < end + OVERDUE for end in self.leaving)

    def waiting(self, seconds: float) -> int:
        """Pods that the scheduler has found no node for in so many seconds, while none is freed."""
        if self.freeing:
            return 0
        return sum(self.pending(pod) >= seconds for pod in self.unplaced)

    def pending(self, pod: PodView) -> float:
        """Seconds that the scheduler has found no node for a pod; 0 while it has not tried."""
        if pod.unscheduled_since is None:
            return 0.0
        return (self.now - pod.unscheduled_since).total_seconds()

    @property
    def spare(self) -> int:
        """Free places that no pod of this resource is going to take anyway."""
        missing = max(0, self.wanted - len(self.pods))
        extra = max(0, len(self.pods) - self.wanted)
        # Of a surge that is under way the place is ours already.
        surging = min(extra, sum(pod.scheduled and not pod.ready for pod in self.pods))
        ours = sum(self.now < end + OVERDUE for end in self.leaving) + surging
        return (self.free or 0) + ours - missing - len(self.unplaced)


def needs_look(situation: Situation, live: Step | None, devices: bool) -> bool:
    """Whether it matters how many GPUs are free.

    Args:
        situation: With `free` not known yet.
        live: The step that the Deployment has.
        devices: Whether the pods ask for any.
    """
    if not devices or situation.policy.when_no_gpu_is_free == "wait":
        return False
    if situation.changed:
        return situation.deployment.replicas > 0
    return live is not None and live.why is Why.BUSY and _steady(situation)


def _steady(situation: Situation) -> bool:
    """A rollout in which every pod has its node, so that what is free now is free for a surge."""
    return (
        situation.rolling
        and not situation.unplaced
        and not situation.freeing
        and len(situation.pods) >= situation.wanted
    )


def next_step(situation: Situation, live: Step | None) -> Step:
    """The step with which the Deployment is to be applied.

    Args:
        situation: With `free` known where `needs_look` asked for it.
        live: The step that it has, None where it has none.
    """
    if live is None or situation.changed:
        return _first(situation)
    if not situation.rolling:
        return live
    if situation.policy.when_no_gpu_is_free == "wait":
        return WAIT
    if live.surge:
        waiting = min(situation.waiting(PENDING_SECONDS), situation.wanted)
        return Step(Why.WITHDRAWN, waiting) if waiting else replace(live, why=Why.FREE)
    waiting = situation.waiting(STUCK_SECONDS)
    if waiting and len(situation.pods) <= situation.wanted:
        return replace(live, unavailable=max(live.unavailable, min(1 + waiting, situation.wanted)))
    if live.why is Why.BUSY and _steady(situation) and situation.spare > 0:
        return SURGE
    return live


def _first(situation: Situation) -> Step:
    """The step of a new pod template."""
    if situation.policy.when_no_gpu_is_free == "wait":
        return WAIT
    # Where nobody had to look there is nothing to replace, or no GPU is needed.
    return SURGE if situation.free is None or situation.spare > 0 else IN_PLACE


def look_again(situation: Situation, step: Step) -> float | None:
    """Seconds after which the step may have to change though nothing happens, None for never."""
    if not situation.rolling or step.why is Why.WAIT:
        return None
    limit = PENDING_SECONDS if step.surge else STUCK_SECONDS
    left = [
        limit - situation.pending(pod)
        for pod in situation.unplaced
        if pod.unscheduled_since is not None
    ]
    waits = [seconds if seconds > 0 else LOOK_SECONDS for seconds in left]
    if step.why is Why.BUSY:
        waits.append(LOOK_SECONDS)
    return min(waits, default=None)
