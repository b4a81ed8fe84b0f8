"""Desired pod sets of a resource: the stable one and, during a rollout, a candidate."""

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import RolloutStatus
from deepseek_operator.cluster.cache import Cache, Key, key_of
from deepseek_operator.cluster.client import Object
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.rollouts.evidence import Evidence
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.plan import SPEC_UNREADABLE, decide, unread_file
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.pod_sets import (
    PodSets,
    Strategy,
    desired_sets,
    name_too_long,
)
from deepseek_operator.plan.progressive.progression import (
    ProgressiveInput,
    SetView,
    align_with_spec,
    collapsed,
    recovered,
    stable_only,
)
from deepseek_operator.plan.progressive.revision import Revision, revision, spec_of
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.state.labels import BLUE, GREEN, Color, other
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status import conditions as status
from deepseek_operator.plan.status.rollout_status import rollout_status

# Seconds until a requeue during a rollout: while nothing happens, and after a step.
LOOK_SECONDS, STEP_SECONDS = 15.0, 1.0
CANARY_APART = "CanaryApart"


@dataclass(frozen=True)
class Decided:
    """Desired pod sets, and what the status reports about them.

    Attributes:
        sets: Desired pod sets.
        change: Progress of the rollout, None without one.
        extra_ready: Replicas of the second set that take requests.
        requeue_after: Seconds after which to requeue, None for never.
        refusal: Why the newest spec is refused; the decision is about the spec before it.
    """

    sets: PodSets
    change: RolloutStatus | None = None
    extra_ready: int = 0
    requeue_after: float | None = None
    refusal: Refusal | None = None


class Changes:
    """Decides the pod sets of every resource."""

    def __init__(
        self,
        cache: Cache,
        settings: Settings,
        hub: Hub,
        evidence: Evidence,
    ):
        self._cache = cache
        self._settings = settings
        self._hub = hub
        self._evidence = evidence

    async def decide(self, body: Object, now: datetime) -> Decided | Refusal:
        """Decide the pod sets of a resource.

        Args:
            body: The resource.
            now: The current time.

        Raises:
            UnreachableError: A request to the API server failed.
        """
        key = key_of(body)
        state = self._cache.rollout_state(key)
        newest = await self._desired(body, state.stable if state else BLUE)
        if isinstance(newest, Refusal):
            return await self._keep_current(key, body, newest, now)
        if refusal := name_too_long(newest):
            return await self._keep_current(key, body, refusal, now)
        if newest.rollout.strategy != "auto":
            return await self._progressive(key, body, newest, now)
        self._evidence.forget(key)
        if state is None and not self._cache.has_second(key):
            return Decided(PodSets(newest))
        return await self._single_set(key, body, newest, state, now)

    async def _keep_current(
        self, key: Key, body: Object, refusal: Refusal, now: datetime
    ) -> Decided | Refusal:
        """Continue the rollout in progress while a newer spec is refused.

        Otherwise a candidate that is worse would not be rolled back.
        """
        state = self._cache.rollout_state(key)
        found = self._cache.revisions(body).get(state.candidate) if state else None
        if state is None or found is None or refusal.reason == SPEC_UNREADABLE:
            return refusal
        before = _with(body, found, Spec.model_validate(body["spec"]))
        newest = await self._desired(before, state.stable)
        if isinstance(newest, Refusal) or newest.rollout.strategy == "auto":
            return refusal
        decided = await self._progressive(key, before, newest, now)
        return replace(decided, refusal=refusal) if isinstance(decided, Decided) else refusal

    async def _single_set(
        self,
        key: Key,
        body: Object,
        newest: DesiredState,
        before: RolloutState | None,
        now: datetime,
    ) -> Decided:
        """Decide on one set, in whichever color it is, after there were two."""
        views = {color: SetView.of(self._cache.observe(key, color)) for color in (BLUE, GREEN)}
        name = revision(Spec.model_validate(body["spec"]), self._settings).name
        state = before or recovered(views, {}, name)
        state = collapsed(state, views[state.candidate_color], views[state.stable], name)
        if state.stable != newest.color:
            retry = await self._desired(body, state.stable)
            newest = retry if isinstance(retry, DesiredState) else newest
        inputs = ProgressiveInput(
            newest.rollout,
            name,
            newest.replicas,
            views[state.stable],
            views[state.candidate_color],
            now,
        )
        # With the stable set in blue and no green one, no rollout state needs to be kept.
        stored = state if state.stable == GREEN or views[GREEN].exists else None
        return Decided(PodSets(newest, traffic=stable_only(state, inputs), state=stored))

    async def _progressive(
        self, key: Key, body: Object, newest: DesiredState, now: datetime
    ) -> Decided | Refusal:
        """Decide on one set, or on two while a rollout is in progress."""
        spec = Spec.model_validate(body["spec"])
        requested = revision(spec, self._settings)
        stored = self._cache.revisions(body)
        observed = {color: self._cache.observe(key, color) for color in (BLUE, GREEN)}
        views = {color: SetView.of(observed[color]) for color in observed}
        before = self._cache.rollout_state(key)
        state = before or recovered(
            views, {name: stored[name].number for name in stored}, requested.name
        )
        inputs = ProgressiveInput(
            rules=newest.rollout,
            newest=requested.name,
            wanted=_wanted(spec, state, observed),
            stable=views[state.stable],
            candidate=views[state.candidate_color],
            now=now,
            scaled=spec.scaling is not None,
            routed=newest.routing is not None and newest.routing.route is not None,
        )
        current, inputs = align_with_spec(state, inputs)
        if current.revision not in {requested.name, *stored}:
            # The revision of the stable set is lost: roll it to the newest, replica by replica.
            current = RolloutState(current.stable, requested.name)
        if current.candidate not in {"", requested.name, *stored}:
            current = current.withdrawn()
        known = {
            **stored,
            requested.name: replace(requested, number=_number(current, stored, requested.name)),
        }
        desired_states = {requested.name: newest}
        for color, name in (
            (current.stable, current.revision),
            (current.candidate_color, current.candidate),
        ):
            if name and name not in desired_states:
                old = await self._desired(_with(body, known[name], spec), color)
                if isinstance(old, Refusal):
                    return old
                desired_states[name] = old
        if current.candidate:
            if (
                _differ(desired_states[current.revision], newest)
                and spec.rollout.strategy == "canary"
            ):
                return await self._keep_current(
                    key, body, _different_workloads(desired_states[current.revision], newest), now
                )
            inputs = await self._evidence.of(key, current, inputs, desired_states, observed)
        strategy: Strategy = canary if spec.rollout.strategy == "canary" else blue_green
        next_state = strategy.advance(current, inputs)
        if next_state.stable != current.stable:
            inputs = inputs.swapped
        if not next_state.candidate:
            self._evidence.forget(key)
        sets, extra_ready = desired_sets(strategy, next_state, inputs, desired_states, known)
        change = self._status(body, next_state, inputs, sets, observed)
        requeue_after = (
            STEP_SECONDS if next_state != before else LOOK_SECONDS if next_state.candidate else None
        )
        return Decided(sets, change, extra_ready, requeue_after)

    def _status(
        self,
        body: Object,
        state: RolloutState,
        inputs: ProgressiveInput,
        sets: PodSets,
        observed: dict[Color, Observed],
    ) -> RolloutStatus | None:
        candidate = sets.of(state.candidate_color) if state.candidate else None
        return rollout_status(
            state,
            inputs,
            canary.verdict(state, inputs) if inputs.rules.strategy == "canary" else None,
            findings.find(candidate, observed[state.candidate_color]) if candidate else None,
            status.rollout_before(body),
            f"{inputs.now:%Y-%m-%dT%H:%M:%SZ}",
        )

    async def _desired(self, body: Object, color: Color) -> DesiredState | Refusal:
        """Return the desired state of a spec in a color, or why the spec is refused."""
        file = unread_file(body, self._settings)
        config = await self._hub.read(file) if file else None
        observed = self._cache.observe(key_of(body), color)
        found = decide(body, self._settings, replace(observed, config=config))
        return replace(found, color=color) if isinstance(found, DesiredState) else found


def _wanted(spec: Spec, state: RolloutState, observed: dict[Color, Observed]) -> int:
    """Return the replicas at the end of the rollout: from the spec, or as load has scaled them."""
    if spec.scaling is None:
        return spec.replicas
    serving = other(state.stable) if state.switched else state.stable
    wanted = observed[serving].deployment.wanted
    return spec.scaling.min_replicas if wanted is None else wanted


def _number(state: RolloutState, stored: dict[str, Revision], name: str) -> int:
    """Return the number of a revision; a new one comes after that of the stable set."""
    if name in stored:
        return stored[name].number
    return stored[state.revision].number + 1 if state.revision in stored else 1


def _with(body: Object, found: Revision, newest: Spec) -> Object:
    """Return the resource as it would be with the pods of another revision."""
    try:
        spec = spec_of(found, newest)
    except ValidationError:
        return body  # edited by hand; the set is rolled to the current spec
    return {**body, "spec": spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)}


def _differ(old: DesiredState, new: DesiredState) -> bool:
    """Return whether one uses a Deployment and the other a LeaderWorkerSet."""
    return (old.pods > 1) != (new.pods > 1)


def _different_workloads(old: DesiredState, new: DesiredState) -> Refusal:
    return Refusal(
        CANARY_APART,
        f"A canary of replicas of {new.pods} pod(s) can't share a Service with replicas of "
        f"{old.pods}: set rollout.strategy to blueGreen for this change.",
    )
