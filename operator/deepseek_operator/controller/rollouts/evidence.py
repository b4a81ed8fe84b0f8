"""Evidence for a rollout step: metrics of both sets, test requests, and GPU usage."""

from collections.abc import Mapping
from dataclasses import replace

from deepseek_operator.api.rollout import seconds
from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.controller.rollouts.counts import counts
from deepseek_operator.controller.rollouts.room import Applied, Rollouts
from deepseek_operator.controller.rollouts.trials import Trials
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.diagnosis.candidate_health import broken
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.pod_sets import placed
from deepseek_operator.plan.progressive.progression import Situation
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.progressive.samples import Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN, Slot
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.traffic.pod_endpoints import SERVER_DESK
from deepseek_operator.render.reuse import Renderer
from deepseek_operator.render.workload import is_workload


class Evidence:
    """Collects the evidence on which rollout steps are decided."""

    def __init__(self, cache: Cache, rollouts: Rollouts, renderer: Renderer, trials: Trials):
        self._cache = cache
        self._rollouts = rollouts
        self._renderer = renderer
        self._trials = trials

    def forget(self, key: Key) -> None:
        """Cancel the test requests of a resource."""
        self._trials.forget(key)

    async def of(
        self,
        key: Key,
        record: Record,
        situation: Situation,
        targets: Mapping[str, Target],
        seen: dict[Slot, Observed],
    ) -> Situation:
        """Return the situation with the evidence filled in.

        Args:
            key: The resource.
            record: Its rollout state, with a candidate.
            situation: What was observed.
            targets: Desired state by revision.
            seen: Observations of both sets; the holders of the GPUs that the candidate waits for
                are added to the candidate's.

        Raises:
            UnreachableError: A request to the API server failed.
        """
        place, rules = record.place, situation.rules
        target = placed(targets[record.candidate], place, record.candidate)
        manifest = next(child for child in self._renderer.children(target) if is_workload(child))
        sets = [seen[BLUE], seen[GREEN]]
        room = await self._rollouts.room(manifest, sets, target.pods, situation.wanted)
        seen[place] = await self._rollouts.crowded(Applied(manifest, False, None), seen[place])
        situation = replace(situation, room=room)
        if situation.candidate.revision != record.candidate or situation.candidate.rolling:
            return situation  # the existing pods belong to an earlier edit
        situation = replace(situation, broken=broken(target, seen[place], rules, situation.now))
        if rules.strategy == "canary":
            return await self._counted(key, record, situation, targets)
        if record.switched or not blue_green.complete(record, situation):
            return situation
        # The sidecar of a mesh rejects clients outside the mesh: there readiness has to suffice.
        pods = [
            (pod.name, address)
            for pod, address, desk in self._cache.pods.serving(key, place)
            if desk == SERVER_DESK
        ]
        answered, problem = self._trials.result(
            key, record.candidate, pods, target.served_name, rules.blue_green.check_requests
        )
        return replace(situation, check=answered, problem=problem)

    async def _counted(
        self, key: Key, record: Record, situation: Situation, targets: Mapping[str, Target]
    ) -> Situation:
        """Return the situation with the metrics of the servers that are past their warm-up."""
        warm = seconds(situation.rules.canary.analysis.warm_up)
        samples: dict[Slot, dict[str, Sample]] = {}
        unread = ""
        for slot, name in ((record.stable, record.revision), (record.place, record.candidate)):
            pods = [
                (pod, address, desk)
                for pod, address, desk in self._cache.pods.serving(key, slot)
                if pod.turned and (situation.now - pod.turned).total_seconds() >= warm
            ]
            found = await counts(pods[: canary.COMPARED], targets[name].engine)
            samples[slot] = found.samples
            unread = unread or found.unread
        words = f"The metrics of a server could not be read: {unread}" if unread else ""
        return replace(situation, samples=samples, unread=words)
