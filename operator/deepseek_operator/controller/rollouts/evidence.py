"""Evidence for a rollout step: metrics of both sets, test requests, and GPU usage."""

from collections.abc import Mapping
from dataclasses import replace

from deepseek_operator.api.rollout import seconds
from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.controller.rollouts.counts import counts
from deepseek_operator.controller.rollouts.room import Applied, Rollouts
from deepseek_operator.controller.rollouts.trials import Trials
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis.candidate_health import candidate_failure
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.pod_sets import pod_set
from deepseek_operator.plan.progressive.progression import ProgressiveInput
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.progressive.samples import Sample
from deepseek_operator.plan.state.labels import BLUE, GREEN, Color
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.traffic.pod_endpoints import SERVER_SCRAPE_TARGET
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
        state: RolloutState,
        inputs: ProgressiveInput,
        desired_states: Mapping[str, DesiredState],
        observed: dict[Color, Observed],
    ) -> ProgressiveInput:
        """Return the inputs with the evidence filled in.

        Args:
            key: The resource.
            state: Its rollout state, with a candidate.
            inputs: What was observed.
            desired_states: Desired state by revision.
            observed: Observations of both sets; the holders of the GPUs that the candidate waits for
                are added to the candidate's.

        Raises:
            UnreachableError: A request to the API server failed.
        """
        color, rules = state.candidate_color, inputs.rules
        desired = pod_set(desired_states[state.candidate], color, state.candidate)
        manifest = next(child for child in self._renderer.children(desired) if is_workload(child))
        sets = [observed[BLUE], observed[GREEN]]
        room = await self._rollouts.capacity(manifest, sets, desired.pods, inputs.wanted)
        observed[color] = await self._rollouts.with_contention(
            Applied(manifest, False, None), observed[color]
        )
        inputs = replace(inputs, capacity=room)
        if inputs.candidate.revision != state.candidate or inputs.candidate.rolling:
            return inputs  # the existing pods belong to an earlier edit
        inputs = replace(
            inputs, failure=candidate_failure(desired, observed[color], rules, inputs.now)
        )
        if rules.strategy == "canary":
            return await self._counted(key, state, inputs, desired_states)
        if state.switched or not blue_green.complete(state, inputs):
            return inputs
        # The sidecar of a mesh rejects clients outside the mesh: there readiness has to suffice.
        pods = [
            (pod.name, address)
            for pod, address, scrape_target in self._cache.pods.serving(key, color)
            if scrape_target == SERVER_SCRAPE_TARGET
        ]
        answered, problem = self._trials.result(
            key, state.candidate, pods, desired.served_name, rules.blue_green.check_requests
        )
        return replace(inputs, smoke_passed=answered, smoke_problem=problem)

    async def _counted(
        self,
        key: Key,
        state: RolloutState,
        inputs: ProgressiveInput,
        desired_states: Mapping[str, DesiredState],
    ) -> ProgressiveInput:
        """Return the inputs with the metrics of the servers that are past their warm-up."""
        warm = seconds(inputs.rules.canary.analysis.warm_up)
        samples: dict[Color, dict[str, Sample]] = {}
        unread = ""
        for color, name in (
            (state.stable, state.revision),
            (state.candidate_color, state.candidate),
        ):
            pods = [
                (pod, address, scrape_target)
                for pod, address, scrape_target in self._cache.pods.serving(key, color)
                if pod.ready_changed and (inputs.now - pod.ready_changed).total_seconds() >= warm
            ]
            found = await counts(pods[: canary.MAX_COMPARED_SERVERS], desired_states[name].engine)
            samples[color] = found.samples
            unread = unread or found.scrape_error
        message = f"The metrics of a server could not be read: {unread}" if unread else ""
        return replace(inputs, samples=samples, scrape_error=message)
