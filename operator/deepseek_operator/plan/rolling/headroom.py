"""Capacity forecast: whether all replicas find a node now, and whether a later rollout can surge."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.rolling.capacity import Demand, Usage, crowd, places
from deepseek_operator.plan.rolling.rolling_update import Situation, Step, next_step
from deepseek_operator.plan.state.observed import Crowd, DeploymentView, NodeView, Observed


@dataclass(frozen=True)
class Room:
    """The capacity for the replicas of a resource.

    Attributes:
        nodes: Names of the nodes that could run a pod if they were empty.
        places: Further replicas that they can run now, beside all existing pods.
        missing: Desired replicas without a node.
        crowd: GPU usage of the nodes, None if the pods need no GPU.
        step: First step of a rollout once all replicas are scheduled, None for strategies with two
            sets of pods.
    """

    nodes: tuple[str, ...]
    places: int
    missing: int
    crowd: Crowd | None
    step: Step | None

    @property
    def enough(self) -> bool:
        """Whether all desired replicas find a node."""
        return self.places >= self.missing


def room(
    demand: Demand,
    nodes: Iterable[NodeView],
    usage: Usage,
    observed: Observed,
    policy: Rollout,
    wanted: int,
    pods: int,
    now: datetime,
) -> Room:
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
    found = places(demand, nodes, usage) // pods
    placed = sum(replica.scheduled for replica in observed.replicas)
    missing = max(0, wanted - placed)
    # Slots that remain once all replicas are scheduled are available for a surge.
    left = found - missing if demand.devices else None
    there = DeploymentView(replicas=wanted)
    situation = Situation(policy, 0, True, there, (), (), left, now)
    return Room(
        tuple(sorted(node.name for node in nodes)),
        found,
        missing,
        crowd(demand, nodes, usage) if demand.devices else None,
        next_step(situation, None) if policy.strategy == "auto" else None,
    )
