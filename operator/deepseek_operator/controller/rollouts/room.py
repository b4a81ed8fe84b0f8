"""What a rollout has to ask the cluster: which nodes have a GPU free, and who holds the others."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from deepseek_operator.cluster.client import Object
from deepseek_operator.cluster.errors import RejectedError
from deepseek_operator.cluster.usage import NodeUsage
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.rolling.capacity import Demand, Holder, crowd, places, suits
from deepseek_operator.plan.rolling.rolling_update import (
    Situation,
    Step,
    look_again,
    needs_look,
    next_step,
)
from deepseek_operator.plan.state.labels import TEMPLATE_HASH
from deepseek_operator.plan.state.observed import DeploymentView, Observed
from deepseek_operator.render.workload import GROUPS, pod_spec, possible, rolled, template_hash

logger = logging.getLogger(__name__)

# Who holds GPUs is told to waiting resources as it was at most so many seconds ago, to all the same,
CROWD_AGE = 5.0
# and anew after so many: it may change with every pod of everybody, and each telling is a write.
CROWD_SECONDS = 60.0


@dataclass(frozen=True)
class Applied:
    """The manifest of what runs the pods, with its step.

    Attributes:
        changed: Whether it gives a new template to pods that run.
        again: Seconds after which the step may have to change, None for never.
    """

    manifest: Object
    changed: bool
    again: float | None


class Rollouts:
    """Decides the step of every rollout."""

    def __init__(self, usage: NodeUsage):
        self._usage = usage

    async def step(
        self,
        manifest: Object,
        live: Object | None,
        target: Target,
        observed: Observed,
        now: datetime,
    ) -> Applied:
        """The manifest of what runs the pods, with the step that its rollout has to take now.

        Args:
            manifest: It without a step.
            live: It as the API server has it.
            target: What it was made of.
            observed: Its pods, and the nodes.
            now: The time.

        Raises:
            UnreachableError: The API server could not be asked.
        """
        notes = live["metadata"].get("annotations", {}) if live else {}
        view = _view(manifest, live, observed) if live else DeploymentView()
        situation = Situation(
            policy=target.rollout,
            wanted=manifest["spec"].get("replicas", view.wanted or 0),
            changed=notes.get(TEMPLATE_HASH) != template_hash(manifest),
            deployment=view,
            pods=observed.replicas,
            # One of each replica that leaves.
            leaving=observed.leaving[:: target.pods],
            free=None,
            now=now,
        )
        before = Step.parse(view.step)
        demand = _demand(manifest)
        if needs_look(situation, before, bool(demand.devices)):
            situation = await self._looked(situation, demand, observed, target.pods)
        step = possible(manifest, situation.wanted, next_step(situation, before))
        again = look_again(situation, step)
        if demand.devices and any(pod.unscheduled is not None for pod in observed.pods):
            again = min(again or CROWD_SECONDS, CROWD_SECONDS)
        changed = situation.changed and view.replicas > 0
        return Applied(rolled(manifest, step), changed, again)

    async def _looked(
        self, situation: Situation, demand: Demand, observed: Observed, pods: int
    ) -> Situation:
        """The situation with the free places counted, as far as they matter.

        A replica of several pods needs a place for each.
        """
        nodes = {node.name: node for node in observed.nodes if suits(node, demand)}
        situation, found = replace(situation, free=0), 0
        try:
            async for usage in self._usage.batches(nodes, 0.0):
                some = (nodes[name] for name in usage)
                found += places(demand, some, usage)
                situation = replace(situation, free=found // pods)
                if situation.spare > 0:
                    break
        except RejectedError as error:
            logger.warning("Who holds GPUs can't be read: %s", error)
            return replace(situation, free=None)
        return situation

    async def room(
        self, manifest: Object, sets: Iterable[Observed], pods: int, most: int
    ) -> int | None:
        """Places for replicas, those that ours hold included; None where they need no devices.

        Args:
            manifest: What would run them.
            sets: The sets of the resource.
            pods: Of one replica.
            most: More free places than that need not be found.

        Raises:
            UnreachableError: The API server could not be asked.
        """
        demand = _demand(manifest)
        if not demand.devices:
            return None
        sets = list(sets)
        held = sum(replica.scheduled for observed in sets for replica in observed.replicas)
        # What is about to be freed is as good as free.
        held += sum(len(observed.leaving[::pods]) for observed in sets)
        nodes = {node.name: node for node in sets[0].nodes if suits(node, demand)}
        found = 0
        try:
            async for usage in self._usage.batches(nodes, 0.0):
                found += places(demand, (nodes[name] for name in usage), usage)
                if found // pods >= most:
                    break
        except RejectedError as error:
            logger.warning("Who holds GPUs can't be read: %s", error)
            return None
        return held + found // pods

    async def crowded(self, applied: Applied, observed: Observed) -> Observed:
        """What was observed, with who holds what its pods wait for.

        Raises:
            UnreachableError: The API server could not be asked.
        """
        observed = replace(observed, changed=applied.changed)
        demand = _demand(applied.manifest)
        if not demand.devices or all(pod.unscheduled is None for pod in observed.pods):
            return observed
        nodes = [node for node in observed.nodes if suits(node, demand)]
        usage: dict[str, tuple[Holder, ...]] = {}
        try:
            async for some in self._usage.batches([node.name for node in nodes], CROWD_AGE):
                usage.update(some)
        except RejectedError as error:
            logger.warning("Who holds GPUs can't be read: %s", error)
            return observed
        return replace(observed, crowd=crowd(demand, nodes, usage))


def _view(manifest: Object, live: Object, observed: Observed) -> DeploymentView:
    if manifest["kind"] == GROUPS:
        return DeploymentView.of_groups(live, observed.pods)
    return DeploymentView.of(live)


def _demand(manifest: Object) -> Demand:
    """What its pods ask for; nothing where `podTemplate` is no PodSpec, which the API server will say."""
    try:
        return Demand.of(pod_spec(manifest))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return Demand.of({})
