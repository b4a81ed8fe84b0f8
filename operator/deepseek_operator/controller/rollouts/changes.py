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
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.diagnosis import findings
from deepseek_operator.plan.plan import SPEC_UNREADABLE, decide, unread_file
from deepseek_operator.plan.progressive import blue_green, canary
from deepseek_operator.plan.progressive.pod_sets import Machine, Sets, too_long
from deepseek_operator.plan.progressive.pod_sets import sets as sets_of
from deepseek_operator.plan.progressive.progression import (
    SetView,
    Situation,
    alone,
    faced,
    recovered,
    settled,
)
from deepseek_operator.plan.progressive.revision import Revision, revision, spec_of
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.state.labels import BLUE, GREEN, Slot, other
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status import conditions as status
from deepseek_operator.plan.status.rollout_status import said

# Seconds until a requeue during a rollout: while nothing happens, and after a step.
LOOK, SOON = 15.0, 1.0
APART = "CanaryApart"


@dataclass(frozen=True)
class Decided:
    """Desired pod sets, and what the status reports about them.

    Attributes:
        sets: Desired pod sets.
        change: Progress of the rollout, None without one.
        beside: Replicas of the second set that take requests.
        again: Seconds after which to requeue, None for never.
        refusal: Why the newest spec is refused; the decision is about the spec before it.
    """

    sets: Sets
    change: RolloutStatus | None = None
    beside: int = 0
    again: float | None = None
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
        record = self._cache.record(key)
        newest = await self._target(body, record.stable if record else BLUE)
        if isinstance(newest, Refusal):
            return await self._meanwhile(key, body, newest, now)
        if refusal := too_long(newest):
            return await self._meanwhile(key, body, refusal, now)
        if newest.rollout.strategy != "auto":
            return await self._changed(key, body, newest, now)
        self._evidence.forget(key)
        if record is None and not self._cache.has_second(key):
            return Decided(Sets(newest))
        return await self._one(key, body, newest, record, now)

    async def _meanwhile(
        self, key: Key, body: Object, refusal: Refusal, now: datetime
    ) -> Decided | Refusal:
        """Continue the rollout in progress while a newer spec is refused.

        Otherwise a candidate that is worse would not be rolled back.
        """
        record = self._cache.record(key)
        found = self._cache.revisions(body).get(record.candidate) if record else None
        if record is None or found is None or refusal.reason == SPEC_UNREADABLE:
            return refusal
        before = _with(body, found, Spec.model_validate(body["spec"]))
        newest = await self._target(before, record.stable)
        if isinstance(newest, Refusal) or newest.rollout.strategy == "auto":
            return refusal
        decided = await self._changed(key, before, newest, now)
        return replace(decided, refusal=refusal) if isinstance(decided, Decided) else refusal

    async def _one(
        self, key: Key, body: Object, newest: Target, before: Record | None, now: datetime
    ) -> Decided:
        """Decide on one set, in whichever color it is, after there were two."""
        views = {slot: SetView.of(self._cache.observe(key, slot)) for slot in (BLUE, GREEN)}
        name = revision(Spec.model_validate(body["spec"]), self._settings).name
        record = before or recovered(views, {}, name)
        record = settled(record, views[record.place], views[record.stable], name)
        if record.stable != newest.slot:
            again = await self._target(body, record.stable)
            newest = again if isinstance(again, Target) else newest
        situation = Situation(
            newest.rollout, name, newest.replicas, views[record.stable], views[record.place], now
        )
        # With the stable set in blue and no green one, no rollout state needs to be kept.
        kept = record if record.stable == GREEN or views[GREEN].there else None
        return Decided(Sets(newest, traffic=alone(record, situation), record=kept))

    async def _changed(
        self, key: Key, body: Object, newest: Target, now: datetime
    ) -> Decided | Refusal:
        """Decide on one set, or on two while a rollout is in progress."""
        spec = Spec.model_validate(body["spec"])
        aim = revision(spec, self._settings)
        kept = self._cache.revisions(body)
        seen = {slot: self._cache.observe(key, slot) for slot in (BLUE, GREEN)}
        views = {slot: SetView.of(seen[slot]) for slot in seen}
        before = self._cache.record(key)
        record = before or recovered(views, {name: kept[name].number for name in kept}, aim.name)
        situation = Situation(
            rules=newest.rollout,
            newest=aim.name,
            wanted=_wanted(spec, record, seen),
            stable=views[record.stable],
            candidate=views[record.place],
            now=now,
            scaled=spec.scaling is not None,
            routed=newest.ways is not None and newest.ways.route is not None,
        )
        ahead, situation = faced(record, situation)
        if ahead.revision not in {aim.name, *kept}:
            # The revision of the stable set is lost: roll it to the newest, replica by replica.
            ahead = Record(ahead.stable, aim.name)
        if ahead.candidate not in {"", aim.name, *kept}:
            ahead = ahead.withdrawn()
        known = {**kept, aim.name: replace(aim, number=_number(ahead, kept, aim.name))}
        targets = {aim.name: newest}
        for slot, name in ((ahead.stable, ahead.revision), (ahead.place, ahead.candidate)):
            if name and name not in targets:
                old = await self._target(_with(body, known[name], spec), slot)
                if isinstance(old, Refusal):
                    return old
                targets[name] = old
        if ahead.candidate:
            if _differ(targets[ahead.revision], newest) and spec.rollout.strategy == "canary":
                return await self._meanwhile(
                    key, body, _apart(targets[ahead.revision], newest), now
                )
            situation = await self._evidence.of(key, ahead, situation, targets, seen)
        machine: Machine = canary if spec.rollout.strategy == "canary" else blue_green
        after = machine.advance(ahead, situation)
        if after.stable != ahead.stable:
            situation = situation.turned
        if not after.candidate:
            self._evidence.forget(key)
        sets, beside = sets_of(machine, after, situation, targets, known)
        change = self._said(body, after, situation, sets, seen)
        again = SOON if after != before else LOOK if after.candidate else None
        return Decided(sets, change, beside, again)

    def _said(
        self,
        body: Object,
        record: Record,
        situation: Situation,
        sets: Sets,
        seen: dict[Slot, Observed],
    ) -> RolloutStatus | None:
        candidate = sets.of(record.place) if record.candidate else None
        return said(
            record,
            situation,
            canary.verdict(record, situation) if situation.rules.strategy == "canary" else None,
            findings.find(candidate, seen[record.place]) if candidate else None,
            status.rollout_before(body),
            f"{situation.now:%Y-%m-%dT%H:%M:%SZ}",
        )

    async def _target(self, body: Object, slot: Slot) -> Target | Refusal:
        """Return the desired state of a spec in a color, or why the spec is refused."""
        file = unread_file(body, self._settings)
        config = await self._hub.read(file) if file else None
        observed = self._cache.observe(key_of(body), slot)
        found = decide(body, self._settings, replace(observed, config=config))
        return replace(found, slot=slot) if isinstance(found, Target) else found


def _wanted(spec: Spec, record: Record, seen: dict[Slot, Observed]) -> int:
    """Return the replicas at the end of the rollout: from the spec, or as load has scaled them."""
    if spec.scaling is None:
        return spec.replicas
    lead = other(record.stable) if record.switched else record.stable
    wanted = seen[lead].deployment.wanted
    return spec.scaling.min_replicas if wanted is None else wanted


def _number(record: Record, kept: dict[str, Revision], name: str) -> int:
    """Return the number of a revision; a new one comes after that of the stable set."""
    if name in kept:
        return kept[name].number
    return kept[record.revision].number + 1 if record.revision in kept else 1


def _with(body: Object, found: Revision, newest: Spec) -> Object:
    """Return the resource as it would be with the pods of another revision."""
    try:
        spec = spec_of(found, newest)
    except ValidationError:
        return body  # edited by hand; the set is rolled to the current spec
    return {**body, "spec": spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)}


def _differ(old: Target, new: Target) -> bool:
    """Return whether one uses a Deployment and the other a LeaderWorkerSet."""
    return (old.pods > 1) != (new.pods > 1)


def _apart(old: Target, new: Target) -> Refusal:
    return Refusal(
        APART,
        f"A canary of replicas of {new.pods} pod(s) can't share a Service with replicas of "
        f"{old.pods}: set rollout.strategy to blueGreen for this change.",
    )
