"""Whether what shall be finds room now, and whether a later rollout could start a successor first."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.rolling.capacity import Demand, Usage, crowd, places
from deepseek_operator.plan.rolling.rolling_update import Situation, Step, next_step
from deepseek_operator.plan.state.observed import Crowd, DeploymentView, NodeView, Observed


@dataclass(frozen=True)
class Room:
    """Room for the replicas of a resource.

    Attributes:
        nodes: Names of the nodes that would take a pod if they were empty.
        places: Further replicas that they take now, beside all pods that are there.
        missing: Replicas that are asked for and have no node yet.
        crowd: Who holds GPUs, None where its pods need none.
        step: How a rollout would begin as soon as all replicas have their nodes, None where two sets
            of pods stand beside each other.
    """

    nodes: tuple[str, ...]
    places: int
    missing: int
    crowd: Crowd | None
    step: Step | None

    @property
    def enough(self) -> bool:
        """Whether all replicas that are asked for find a node."""
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
    """How much room there is.

    Args:
        demand: What a pod asks for.
        nodes: Those that suit it.
        usage: Who holds what of them.
        observed: The pods that the resource has.
        policy: `spec.rollout`.
        wanted: Replicas that are asked for.
        pods: Of one replica.
        now: The time.
    """
    nodes = tuple(nodes)
    found = places(demand, nodes, usage) // pods
    placed = sum(replica.scheduled for replica in observed.replicas)
    missing = max(0, wanted - placed)
    # When all of them have a node, what is left is free for a successor.
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
