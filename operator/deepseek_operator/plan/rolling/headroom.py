"""Capacity forecast: whether all replicas find a node now, and whether a later rollout can surge."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.rolling.capacity import Demand, Usage, free_slots, gpu_contention
from deepseek_operator.plan.rolling.rolling_update import RolloutInput, Step, next_step
from deepseek_operator.plan.state.observed import DeploymentView, GpuContention, NodeView, Observed


@dataclass(frozen=True)
class Headroom:
    """The capacity for the replicas of a resource.

    Attributes:
        nodes: Names of the nodes that could run a pod if they were empty.
        free_slots: Further replicas that they can run now, beside all existing pods.
        missing: Desired replicas without a node.
        gpu_contention: GPU usage of the nodes, None if the pods need no GPU.
        step: First step of a rollout once all replicas are scheduled, None for strategies with two
            sets of pods.
    """

    nodes: tuple[str, ...]
    free_slots: int
    missing: int
    gpu_contention: GpuContention | None
    step: Step | None

    @property
    def enough(self) -> bool:
        """Whether all desired replicas find a node."""
        return self.free_slots >= self.missing


def headroom(
    demand: Demand,
    nodes: Iterable[NodeView],
    usage: Usage,
    observed: Observed,
    policy: Rollout,
    wanted: int,
    pods: int,
    now: datetime,
) -> Headroom:
    """Return the capacity for the replicas of a resource.

    Args:
        demand: Resource requests and constraints of a pod.
        nodes: Suitable nodes.
        usage: Resource usage of the nodes.
        observed: The existing pods of the resource.
        policy: `spec.rollout`.
        wanted: Desired replicas.
        pods: Pods of one replica.
        now: The time.
    """
    nodes = tuple(nodes)
    found = free_slots(demand, nodes, usage) // pods
    scheduled = sum(replica.scheduled for replica in observed.replicas)
    missing = max(0, wanted - scheduled)
    # Slots that remain once all replicas are scheduled are available for a surge.
    left = found - missing if demand.devices else None
    deployment = DeploymentView(replicas=wanted)
    inputs = RolloutInput(policy, 0, True, deployment, (), (), left, now)
    return Headroom(
        tuple(sorted(node.name for node in nodes)),
        found,
        missing,
        gpu_contention(demand, nodes, usage) if demand.devices else None,
        next_step(inputs, None) if policy.strategy == "auto" else None,
    )
