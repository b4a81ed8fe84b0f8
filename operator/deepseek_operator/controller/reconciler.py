"""The reconcile loop of one resource: observe, decide, apply, report."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.cluster import handover
from deepseek_operator.cluster.cache import Cache, Key, key_of
from deepseek_operator.cluster.cached_object import Fingerprint
from deepseek_operator.cluster.client import Client, Object
from deepseek_operator.cluster.drift import in_sync
from deepseek_operator.cluster.errors import (
    NamespaceEndingError,
    NotFoundError,
    RejectedError,
    UnreachableError,
)
from deepseek_operator.cluster.kinds import RESOURCE, Kind, kind_of
from deepseek_operator.cluster.usage import NodeUsage
from deepseek_operator.controller.events import event_manifest
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.metrics import WRITES
from deepseek_operator.controller.rollouts.changes import Changes, Decided
from deepseek_operator.controller.rollouts.evidence import Evidence
from deepseek_operator.controller.rollouts.room import Applied, Rollouts
from deepseek_operator.controller.rollouts.trials import Trials
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import report
from deepseek_operator.plan.progressive.pod_sets import PodSets
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.plan.status.events import Event
from deepseek_operator.render.reuse import Renderer
from deepseek_operator.render.sets import children
from deepseek_operator.render.workload import is_workload

logger = logging.getLogger(__name__)

Digest = bytes
T = TypeVar("T")

# Rollout state and traffic routing are applied before pods are started or stopped, in this order.
FIRST = (("ControllerRevision",), ("Service",), ("DestinationRule", "VirtualService", "HTTPRoute"))
CHILD_REJECTED = "ChildRejected"
NAME_TAKEN = "NameTaken"


class NameTakenError(Exception):
    """The name of a child is taken by an object that another owner created."""


class Reconciler:
    """Reconciles the children and the status of resources with their specs.

    Args:
        client: Client for writes, and for reads past the cache.
        cache: Cache of the cluster.
        settings: Settings of the installation.
        requeue: Queues a resource for another pass.
        hub: Reads the configuration of models that the catalogue lacks.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        settings: Settings,
        requeue: Callable[[Key], None],
        hub: Hub,
    ):
        self._client = client
        self._cache = cache
        self._settings = settings
        self._requeue = requeue
        self._hub = hub
        self._renderer = Renderer()
        self._rollouts = Rollouts(NodeUsage(client))
        evidence = Evidence(cache, self._rollouts, self._renderer, Trials(requeue))
        self._changes = Changes(cache, settings, hub, evidence)
        # Resources found in sync: nothing is rendered again until their desired state or their
        # children change.
        self._synced: dict[Key, tuple[Digest, tuple[Fingerprint | None, ...]]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Run one reconcile pass over a resource.

        Returns:
            Seconds after which to requeue without an event, None for never.

        Raises:
            UnreachableError: A request to the API server failed; retry.
            RejectedError: The API server rejected a child, which the status reports; retry, but
                not soon.
        """
        body = self._cache.get(RESOURCE, key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._synced.pop(key, None)
            return None  # the garbage collector deletes the children with their owner
        now = datetime.now(UTC)
        decided = await self._changes.decide(body, now)
        decision = _decision(decided)
        failure: RejectedError | None = None
        applied: Applied | None = None
        if isinstance(decided, Decided):
            try:
                applied = await self._apply(key, decided.sets, now)
            except NamespaceEndingError:
                raise
            except RejectedError as error:
                failure = error
                decision = Refusal(CHILD_REJECTED, f"The API server rejected a child: {error}")
            except NameTakenError as error:
                failure = RejectedError(str(error))
                decision = Refusal(NAME_TAKEN, str(error))
        waits = [applied.requeue_after] if applied else []
        if isinstance(decided, Refusal):
            observed = self._cache.observe(key)
        else:
            observed = self._cache.observe(key, decided.sets.active.color)
            if applied:
                observed = await self._rollouts.with_contention(applied, observed)
            observed = replace(observed, extra_ready=decided.extra_ready, change=decided.change)
            waits.append(decided.requeue_after)
        await self._report(body, decision, observed, now)
        if failure:
            raise failure
        return min((seconds for seconds in waits if seconds is not None), default=None)

    async def _apply(self, key: Key, sets: PodSets, now: datetime) -> Applied | None:
        """Apply the children; return None if all of them were in sync already."""
        digest = _digest(sets)
        observed = self._cache.observe(key, sets.active.color)
        is_settled = sets.preview is None and _is_settled(observed)
        if is_settled and self._synced.get(key) == (digest, self._cache.fingerprints(key)):
            return None
        applied = await self._apply_children(key, sets, now)
        self._synced[key] = (digest, self._cache.fingerprints(key))
        return applied

    async def _apply_children(self, key: Key, sets: PodSets, now: datetime) -> Applied:
        """Apply the children in order: what pods need comes before the pods."""
        manifests = children(sets, self._renderer.children)
        if sets.state is not None:
            # The rollout state is written before it is acted upon, and after the revisions it names.
            for kinds in FIRST:
                await self._apply_all([child for child in manifests if child["kind"] in kinds])
        # First, because obsolete children (an autoscaler) may work against the new ones.
        await self._delete_obsolete(sets.active, manifests)
        pods = [index for index, child in enumerate(manifests) if is_workload(child)]
        await self._apply_all(manifests[: pods[0]])
        applied = [
            await self._apply_workload(manifests[index], desired, key, now)
            for index, desired in zip(pods, sets.members, strict=True)
        ]
        await self._apply_all(manifests[pods[-1] + 1 :])
        # Either of two sets may need a requeue; the step that is reported is the first one's.
        waits = [item.requeue_after for item in applied if item.requeue_after is not None]
        return replace(applied[0], requeue_after=min(waits, default=None))

    async def _apply_all(self, manifests: list[Object]) -> None:
        results = await asyncio.gather(
            *(self._apply_child(manifest) for manifest in manifests), return_exceptions=True
        )
        for error in results:
            if error is not None:
                raise error

    async def _apply_child(self, manifest: Object) -> None:
        live = await self._live(manifest)
        await self._apply_if_changed(manifest, live)

    async def _apply_workload(
        self, manifest: Object, desired: DesiredState, key: Key, now: datetime
    ) -> Applied:
        observed = self._cache.observe(key, desired.color)
        live = await self._live(manifest)
        if live is not None:
            await self._hand_over(manifest, live, desired)
        applied = await self._rollouts.step(manifest, live, desired, observed, now)
        await self._apply_if_changed(applied.manifest, live)
        return applied

    async def _live(self, manifest: Object) -> Object | None:
        """Return the live child, None if it does not exist.

        Raises:
            NameTakenError: It belongs to another owner.
        """
        kind, name = kind_of(manifest), key_of(manifest)
        live = self._cache.get(kind, name)
        if live is None and await self._client.get_cached(kind, *name) is not None:
            live = await self._client.get(kind, *name)
        if live is not None:
            _check_owner(kind, manifest, live)
        return live

    async def _apply_if_changed(self, manifest: Object, live: Object | None) -> None:
        kind = kind_of(manifest)
        if live is not None and in_sync(manifest, live):
            self._cache.put_written(kind, live)
            return
        try:
            self._cache.put_written(kind, await self._write(kind, manifest))
        except NotFoundError as error:
            if kind.optional:  # discovery finds out soon that the kind is gone
                raise UnreachableError(f"{kind.plural} are no longer served.") from error
            raise

    async def _hand_over(self, manifest: Object, live: Object, desired: DesiredState) -> None:
        """Hand `spec.replicas` to another field manager before the operator stops sending it.

        Kubernetes sets a field to its default, here 1, when its only owner stops sending it.
        """
        if desired.scaling is None or not handover.is_due(live):
            return
        kind = kind_of(manifest)
        now = await self._client.get(kind, *key_of(manifest))
        if now is not None:
            given = handover.manifest(manifest, now, desired.scaling.min_replicas)
            write = self._client.apply(kind, given, manager=handover.MANAGER)
            await self._counted(kind, write)

    async def _delete_obsolete(self, desired: DesiredState, manifests: list[Object]) -> None:
        """Delete the children that an earlier spec needed and this one does not."""
        wanted = {(kind_of(manifest), key_of(manifest)) for manifest in manifests}
        resource = desired.resource
        for kind, live in self._cache.children(Key(resource.namespace, resource.name)):
            ours = any(owner["uid"] == resource.uid for owner in _controllers(live))
            if not ours or (kind, key_of(live)) in wanted or _is_terminating(live):
                continue
            await self._counted(kind, self._client.delete(kind, live))
            self._cache.drop(kind, live)

    async def _report(
        self, body: Object, decision: DesiredState | Refusal, observed: Observed, now: datetime
    ) -> None:
        reported = report(body, decision, observed, _stamp(now))
        if reported.status == body["status"]:
            return
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            # The uid keeps the status of a deleted resource from reaching its successor.
            "metadata": {k: body["metadata"][k] for k in ("name", "namespace", "uid")},
            "status": reported.status,
        }
        result = await self._write(RESOURCE, manifest, "status")
        self._cache.put_written(RESOURCE, result)
        if result["metadata"]["generation"] != body["metadata"]["generation"]:
            # The spec was edited meanwhile; the cache has this version, so its event queues nothing.
            self._requeue(key_of(body))
        for event in reported.events:
            await self._post_event(body, event, _stamp(now))

    async def _write(self, kind: Kind, manifest: Object, subresource: str = "") -> Object:
        return await self._counted(kind, self._client.apply(kind, manifest, subresource))

    async def _counted(self, kind: Kind, write: Awaitable[T]) -> T:
        try:
            result = await write
        except (RejectedError, UnreachableError) as error:
            WRITES.labels(kind.called, type(error).__name__).inc()
            raise
        WRITES.labels(kind.called, "ok").inc()
        return result

    async def _post_event(self, body: dict[str, Any], event: Event, now: str) -> None:
        logger.info("%s: %s: %s", key_of(body), event.reason, event.message)
        try:
            await self._client.post_event(event_manifest(body, event, now))
        except RejectedError as error:
            # Events are best effort: the status reports the same.
            logger.warning("%s: failed to write the Event: %s", key_of(body), error)


def _check_owner(kind: Kind, manifest: Object, live: Object) -> None:
    (wanted,) = manifest["metadata"]["ownerReferences"]
    owners = _controllers(live)
    if any(owner["uid"] == wanted["uid"] for owner in owners):
        return
    if any(owner["kind"] == KIND and owner["name"] == wanted["name"] for owner in owners):
        raise UnreachableError("Children of a deleted resource of this name still exist.")
    raise NameTakenError(
        f"A {kind.name} named {key_of(manifest).name} exists in the namespace and does not belong to this "
        f"resource. Rename the resource, or delete the {kind.name}."
    )


def _controllers(live: Object) -> list[Object]:
    return [item for item in live["metadata"].get("ownerReferences", []) if item.get("controller")]


def _is_terminating(live: Object) -> bool:
    return "deletionTimestamp" in live["metadata"]


def _is_settled(observed: Observed) -> bool:
    """Return whether no rollout step can be due: steps change only with pods and with time."""
    deployment = observed.deployment
    return (
        deployment.settled
        and not deployment.rolling
        and all(pod.scheduled for pod in observed.pods)
    )


def _decision(decided: Decided | Refusal) -> DesiredState | Refusal:
    """Return the desired state or refusal that the status reports on."""
    if isinstance(decided, Refusal):
        return decided
    return decided.refusal or _at_end_of_rollout(decided.sets)


def _at_end_of_rollout(sets: PodSets) -> DesiredState:
    """Return the desired state at the end of the rollout."""
    return sets.active if sets.wanted is None else replace(sets.active, replicas=sets.wanted)


def _digest(sets: PodSets) -> Digest:
    return hashlib.sha256(repr(sets).encode()).digest()


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
