"""Simulated Deployment controller, scheduler and shared GPUs, in steps of five seconds.

The controller follows the Kubernetes rolling update: it creates pods up to `replicas + maxSurge`, and
removes old ones, unhealthy first, while `replicas - maxUnavailable` stay available.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.rolling.rolling_update import (
    RolloutInput,
    Step,
    needs_free_slots,
    next_step,
)
from deepseek_operator.plan.state.observed import DeploymentView, PodView

TICK = timedelta(seconds=5)
LOAD_TICKS, DRAIN_TICKS = 4, 3
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Pod:
    """A pod that requests one GPU."""

    name: str
    template: int
    node: bool = False
    loading: int = LOAD_TICKS
    refused_since: datetime | None = None
    draining: int | None = None

    @property
    def ready(self) -> bool:
        return self.node and self.loading == 0 and self.draining is None

    def view(self) -> PodView:
        return PodView(
            self.name,
            ready=self.ready,
            scheduled=self.node,
            unscheduled=None if self.node else "busy",
            unscheduled_since=self.refused_since,
        )


@dataclass
class World:
    """One Deployment and `gpus` GPUs, of which others hold `others`."""

    wanted: int
    gpus: int
    others: int
    policy: Rollout = field(default_factory=Rollout)
    # A scheduling constraint unknown to the operator: while true, no pod is scheduled.
    obstacle: Callable[[World], bool] = lambda world: False
    template: int = 1
    applied: int = 1
    step: Step | None = None
    now: datetime = START
    pods: list[Pod] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    looks: int = 0
    made: int = 0

    def settle(self) -> None:
        """Run the present template on all replicas that find a GPU."""
        for _ in range(self.wanted):
            self._make(self.template)
        for _ in range(LOAD_TICKS + 2):
            self._schedule()
        self.applied = self.template
        self.step = next_step(self._inputs(), None)
        self.steps = [self.step]

    @property
    def free(self) -> int:
        return self.gpus - self.others - sum(pod.node for pod in self.pods)

    @property
    def alive(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.draining is None]

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.pods)

    @property
    def done(self) -> bool:
        return (
            len(self.alive) == self.wanted
            and all(pod.template == self.template for pod in self.alive)
            and self.ready == min(self.wanted, self.gpus - self.others)
        )

    def tick(self, others: int | None = None) -> None:
        """Advance five seconds; `others` is the number of GPUs that others request."""
        if others is not None:
            self.others += min(others - self.others, self.free)
        self._operate()
        self._control()
        self._schedule()
        self.now += TICK
        self.served.append(self.ready)

    def _operate(self) -> None:
        inputs = self._inputs()
        if needs_free_slots(inputs, self.step, devices=True):
            self.looks += 1
            inputs = replace(inputs, free=self.free)
        step = next_step(inputs, self.step)
        if step != self.step:
            self.steps.append(step)
        self.step, self.applied = step, self.template

    def _inputs(self) -> RolloutInput:
        alive = self.alive
        deployment = DeploymentView(
            replicas=len(alive),
            updated=sum(pod.template == self.applied for pod in alive),
            wanted=self.wanted,
            settled=True,
        )
        return RolloutInput(
            policy=self.policy,
            wanted=self.wanted,
            changed=self.template != self.applied,
            deployment=deployment,
            pods=tuple(pod.view() for pod in alive),
            leaving=tuple(self.now + TICK for pod in self.pods if pod.draining is not None),
            free=None,
            now=self.now,
        )

    def _control(self) -> None:
        """Run one sync of the Deployment's controller."""
        assert self.step is not None
        alive = self.alive
        new = [pod for pod in alive if pod.template == self.template]
        room = self.wanted + self.step.surge - len(alive)
        for _ in range(min(room, self.wanted - len(new))):
            self._make(self.template)
            return
        old = [pod for pod in alive if pod.template != self.template]
        least = self.wanted - self.step.unavailable
        may_go = len(alive) - least - sum(not pod.ready for pod in new)
        for pod in [pod for pod in old if not pod.ready][: max(0, may_go)]:
            self._remove(pod)
        for pod in [pod for pod in old if pod.ready][: max(0, self.ready - least)]:
            self._remove(pod)

    def _schedule(self) -> None:
        for pod in list(self.pods):
            if pod.draining is not None:
                pod.draining -= 1
                if pod.draining <= 0:
                    self.pods.remove(pod)
            elif pod.node:
                pod.loading = max(0, pod.loading - 1)
            elif self.free > 0 and not self.obstacle(self):
                pod.node, pod.refused_since = True, None
            elif pod.refused_since is None:
                pod.refused_since = self.now

    def _make(self, template: int) -> None:
        self.made += 1
        self.pods.append(Pod(f"pod-{self.made}", template))

    def _remove(self, pod: Pod) -> None:
        pod.draining = DRAIN_TICKS if pod.node else 1
