"""Steps of rolling updates, decided with the GPU usage of the nodes where it matters."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from deepseek_operator.cluster.client import Object
from deepseek_operator.cluster.errors import RejectedError
from deepseek_operator.cluster.usage import NodeUsage
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.rolling.capacity import (
    Demand,
    Holder,
    free_slots,
    gpu_contention,
    is_suitable,
)
from deepseek_operator.plan.rolling.rolling_update import (
    RolloutInput,
    Step,
    needs_free_slots,
    next_step,
    seconds_to_next_look,
)
from deepseek_operator.plan.state.labels import TEMPLATE_HASH
from deepseek_operator.plan.state.observed import DeploymentView, Observed
from deepseek_operator.render.workload import GROUPS, pod_spec, possible, rolled, template_hash

logger = logging.getLogger(__name__)

# Maximum age in seconds of the GPU usage snapshot that all waiting resources report.
CONTENTION_AGE = 5.0
# Seconds until they report it anew: it may change with every pod, and each report is a write.
CONTENTION_SECONDS = 60.0


@dataclass(frozen=True)
class Applied:
    """Manifest of a workload, with its rollout step.

    Attributes:
        manifest: The manifest.
        changed: Whether it changes the template of existing replicas.
        requeue_after: Seconds after which the step may change without an event, None for never.
    """

    manifest: Object
    changed: bool
    requeue_after: float | None


class Rollouts:
    """Decides the step of every rolling update."""

    def __init__(self, usage: NodeUsage):
        self._usage = usage

    async def step(
        self,
        manifest: Object,
        live: Object | None,
        desired: DesiredState,
        observed: Observed,
        now: datetime,
    ) -> Applied:
        """Return the manifest of a workload with the step that its rollout has to take now.

        Args:
            manifest: The workload without a step.
            live: The live workload, None if it does not exist.
            desired: Desired state that the manifest was rendered from.
            observed: Its pods, and the nodes.
            now: The current time.

        Raises:
            UnreachableError: A request to the API server failed.
        """
        notes = live["metadata"].get("annotations", {}) if live else {}
        view = _view(manifest, live, observed) if live else DeploymentView()
        inputs = RolloutInput(
            policy=desired.rollout,
            wanted=manifest["spec"].get("replicas", view.wanted or 0),
            changed=notes.get(TEMPLATE_HASH) != template_hash(manifest),
            deployment=view,
            pods=observed.replicas,
            # One pod of each replica that terminates.
            leaving=observed.leaving[:: desired.pods],
            free=None,
            now=now,
        )
        before = Step.parse(view.step)
        demand = _demand(manifest)
        if needs_free_slots(inputs, before, bool(demand.devices)):
            inputs = await self._with_free_slots(inputs, demand, observed, desired.pods)
        step = possible(manifest, inputs.wanted, next_step(inputs, before))
        requeue_after = seconds_to_next_look(inputs, step)
        if demand.devices and any(pod.unscheduled is not None for pod in observed.pods):
            requeue_after = min(requeue_after or CONTENTION_SECONDS, CONTENTION_SECONDS)
        changed = inputs.changed and view.replicas > 0
        return Applied(rolled(manifest, step), changed, requeue_after)

    async def _with_free_slots(
        self, inputs: RolloutInput, demand: Demand, observed: Observed, pods: int
    ) -> RolloutInput:
        """Return the inputs with the free slots counted, up to the number that matters.

        A replica of several pods needs a slot for each.
        """
        nodes = {node.name: node for node in observed.nodes if is_suitable(node, demand)}
        inputs, found = replace(inputs, free=0), 0
        try:
            async for usage in self._usage.batches(nodes, 0.0):
                some = (nodes[name] for name in usage)
                found += free_slots(demand, some, usage)
                inputs = replace(inputs, free=found // pods)
                if inputs.spare > 0:
                    break
        except RejectedError as error:
            logger.warning("Failed to read the GPU usage of the nodes: %s", error)
            return replace(inputs, free=None)
        return inputs

    async def capacity(
        self, manifest: Object, sets: Iterable[Observed], pods: int, enough: int
    ) -> int | None:
        """Return how many replicas fit, those of the resource included.

        Args:
            manifest: Workload that would run them.
            sets: Observations of the resource's sets.
            pods: Pods of one replica.
            enough: Number of free slots at which the count stops.

        Returns:
            None if the replicas need no devices or the usage of the nodes can't be read.

        Raises:
            UnreachableError: A request to the API server failed.
        """
        demand = _demand(manifest)
        if not demand.devices:
            return None
        sets = list(sets)
        held = sum(replica.scheduled for observed in sets for replica in observed.replicas)
        # Slots of terminating replicas are about to be free.
        held += sum(len(observed.leaving[::pods]) for observed in sets)
        nodes = {node.name: node for node in sets[0].nodes if is_suitable(node, demand)}
        found = 0
        try:
            async for usage in self._usage.batches(nodes, 0.0):
                found += free_slots(demand, (nodes[name] for name in usage), usage)
                if found // pods >= enough:
                    break
        except RejectedError as error:
            logger.warning("Failed to read the GPU usage of the nodes: %s", error)
            return None
        return held + found // pods

    async def with_contention(self, applied: Applied, observed: Observed) -> Observed:
        """Return the observation with the holders of the GPUs that its pods wait for.

        Raises:
            UnreachableError: A request to the API server failed.
        """
        observed = replace(observed, changed=applied.changed)
        demand = _demand(applied.manifest)
        if not demand.devices or all(pod.unscheduled is None for pod in observed.pods):
            return observed
        nodes = [node for node in observed.nodes if is_suitable(node, demand)]
        usage: dict[str, tuple[Holder, ...]] = {}
        try:
            async for some in self._usage.batches([node.name for node in nodes], CONTENTION_AGE):
                usage.update(some)
        except RejectedError as error:
            logger.warning("Failed to read the GPU usage of the nodes: %s", error)
            return observed
        return replace(observed, gpu_contention=gpu_contention(demand, nodes, usage))


def _view(manifest: Object, live: Object, observed: Observed) -> DeploymentView:
    if manifest["kind"] == GROUPS:
        return DeploymentView.of_groups(live, observed.pods)
    return DeploymentView.of(live)


def _demand(manifest: Object) -> Demand:
    """Return what its pods request.

    Empty if `podTemplate` is not a PodSpec: the API server will reject the workload.
    """
    try:
        return Demand.of(pod_spec(manifest))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return Demand.of({})
