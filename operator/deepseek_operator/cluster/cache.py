"""Cache of watched objects, reduced to the fields that are read and indexed by their resource."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any

from deepseek_operator.cluster.cached_object import (
    CachedObject,
    Fingerprint,
    Key,
    key_of,
    version_of,
)
from deepseek_operator.cluster.drift import controller_uid
from deepseek_operator.cluster.kinds import (
    ANSWERED,
    AUTOSCALERS,
    CHILDREN,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    EVENT,
    LEADER_WORKER_SET,
    NODE,
    POD,
    RESOURCE,
    SERVICE,
    Kind,
    name_of,
)
from deepseek_operator.cluster.nodes import Nodes
from deepseek_operator.cluster.pods import Pods
from deepseek_operator.plan.progressive.revision import Revision
from deepseek_operator.plan.progressive.rollout_state import RolloutState
from deepseek_operator.plan.state.labels import BLUE, ROLLOUT_STATE, Color, gang_name, set_name
from deepseek_operator.plan.state.observed import AutoscalerView, DeploymentView, Observed, PodView
from deepseek_operator.plan.status.conditions import ACCEPTED, condition

__all__ = ["Cache", "Key", "key_of"]

Object = dict[str, Any]

# Far more than can be deleted while the response to a write is in flight.
REMEMBERED = 10_000


class Cache:
    """The newest known version of every watched object.

    Methods that change the cache return the affected resources: those for which something that is
    read has changed.

    Attributes:
        served: Names of the optional kinds that the cluster serves.
        pods: The cached pods.
    """

    def __init__(self) -> None:
        self.served: frozenset[str] = frozenset()
        self.pods = Pods()
        self._objects: dict[Kind, dict[Key, CachedObject]] = defaultdict(dict)
        self._nodes = Nodes()
        # Refused resources: a node that is large enough may be missing.
        self._refused: set[Key] = set()
        # Children with another name than their resource: rare, so only these need an index.
        self._secondary_children: dict[Key, set[tuple[Kind, Key]]] = {}
        self._metrics_served_by = ""
        # UIDs of the objects that were deleted last.
        self._gone: OrderedDict[str, None] = OrderedDict()

    def put(self, kind: Kind, body: Object) -> set[Key]:
        """Store an object unless this version of it or a newer one is known."""
        if kind is EVENT:
            return self.pods.put_mount_failure(body)
        key = key_of(body)
        known = self._table(kind).get(key)
        if known and known.version >= version_of(body):
            return set()
        if kind is NODE:
            return self._waiting() if self._nodes.put(key, body) else set()
        if kind is POD:
            return self.pods.put(key, body)
        cached = CachedObject.of(kind, body)
        before = self._objects[kind].get(key)
        self._objects[kind][key] = cached
        if kind is RESOURCE:
            self._note_refused(key, body)
        elif key != _child(kind, cached.owner):
            self._secondary_children.setdefault(cached.owner, set()).add((kind, key))
        return set() if before and before.same(cached) else {cached.owner}

    def put_written(self, kind: Kind, body: Object) -> None:
        """Store the response to a write, unless the object is known to be deleted.

        If an object is deleted right after a write, its events may arrive before the response.
        """
        if body["metadata"]["uid"] not in self._gone:
            self.put(kind, body)

    def drop(self, kind: Kind, body: Object) -> set[Key]:
        """Remove a deleted object."""
        return self._forget(kind, key_of(body), body["metadata"].get("uid", ""))

    def prune(self, kind: Kind, listed: set[Key], version: int) -> set[Key]:
        """Remove the objects that a full list of that version lacks and whose events were missed.

        Objects newer than the list were created while it was read, and stay.
        """
        gone = [
            (key, known.uid)
            for key, known in self._table(kind).items()
            if key not in listed and known.version <= version
        ]
        return {owner for key, uid in gone for owner in self._forget(kind, key, uid)}

    def replace(self, kind: Kind, bodies: Iterable[Object], version: int) -> set[Key]:
        """Replace all objects of a kind with a full list of that version."""
        bodies = list(bodies)
        affected = {owner for body in bodies for owner in self.put(kind, body)}
        return affected | self.prune(kind, {key_of(body) for body in bodies}, version)

    def get(self, kind: Kind, key: Key) -> Object | None:
        """Return the newest known version of a resource or a child, reduced to what is read."""
        cached = self._objects[kind].get(key)
        return cached.body() if cached else None

    def version(self, kind: Kind, key: Key) -> int:
        """Return the newest known resource version of an object, 0 if it is unknown."""
        known = self._table(kind).get(key)
        return known.version if known else 0

    def metrics_served_by(self, other: str) -> set[Key]:
        """Store the Service that serves custom.metrics.k8s.io instead of the operator, if any."""
        if other == self._metrics_served_by:
            return set()
        self._metrics_served_by = other
        resources = self._objects[RESOURCE].items()
        return {key for key, cached in resources if cached.body()["spec"].get("scaling")}

    def children(self, key: Key) -> list[tuple[Kind, Object]]:
        """Return the objects of all child kinds that are labelled as a resource's."""
        candidates = [
            *((kind, _child(kind, key)) for kind in CHILDREN),
            *self._secondary_children.get(key, ()),
        ]
        found = ((kind, self._objects[kind].get(name)) for kind, name in candidates)
        return [(kind, cached.body()) for kind, cached in found if cached and cached.owner == key]

    def fingerprints(self, key: Key) -> tuple[Fingerprint | None, ...]:
        """Return the fingerprints of a resource's children, which show whether they have drifted."""
        primary = [(kind, _child(kind, key)) for kind in CHILDREN]
        secondary = sorted(
            self._secondary_children.get(key, ()), key=lambda child: (child[0].called, child[1])
        )
        found = (self._objects[kind].get(name) for kind, name in (*primary, *secondary))
        return tuple(cached.fingerprint if cached else None for cached in found)

    def rollout_state(self, key: Key) -> RolloutState | None:
        """Return the rollout state of a resource, None if it has none."""
        service = self.get(SERVICE, key)
        notes = service["metadata"].get("annotations", {}) if service else {}
        return RolloutState.parse(notes.get(ROLLOUT_STATE))

    def has_second(self, key: Key) -> bool:
        """Return whether a resource has a green set of pods."""
        kinds = {kind for kind, _ in self._secondary_children.get(key, ())}
        return DEPLOYMENT in kinds or LEADER_WORKER_SET in kinds

    def revisions(self, resource: Object) -> dict[str, Revision]:
        """Return the stored revisions of a resource's pod sets, by name."""
        key, uid = key_of(resource), resource["metadata"]["uid"]
        found = {}
        for kind, name in self._secondary_children.get(key, ()):
            body = self.get(kind, name) if kind is CONTROLLER_REVISION else None
            if body and controller_uid(body) == uid and "deletionTimestamp" not in body["metadata"]:
                revision = name.name.removeprefix(f"{key.name}-")
                found[revision] = Revision(revision, body["data"], body["revision"])
        return found

    def resources(self) -> list[Key]:
        """Return the keys of all known resources."""
        return list(self._objects[RESOURCE])

    def count(self, kind: Kind) -> int:
        """Return the number of known objects of a kind."""
        return len(self._table(kind))

    def observe(self, key: Key, color: Color = BLUE) -> Observed:
        """Return the observed state of one set of a resource's pods."""
        pods = self.pods.staying(key, color)
        autoscaler = next((body for k in AUTOSCALERS if (body := self.get(k, key))), None)
        return Observed(
            deployment=self._workload(key, color, pods),
            pods=pods,
            leaving=self.pods.leaving(key, color),
            failed=self.pods.failed(key, color),
            nodes=self._nodes.views(),
            autoscaler=AutoscalerView.of(autoscaler) if autoscaler else None,
            metrics_served_by=self._metrics_served_by,
            served=self.served,
            route_conditions={
                kind.name: tuple(body["routeConditions"])
                for kind in ANSWERED
                if (body := self.get(kind, key))
            },
        )

    def _workload(self, key: Key, color: Color, pods: tuple[PodView, ...]) -> DeploymentView:
        """Return the view of the workload that runs the pods of a set."""
        if groups := self.get(LEADER_WORKER_SET, Key(key.namespace, gang_name(key.name, color))):
            return DeploymentView.of_groups(groups, pods)
        deployment = self.get(DEPLOYMENT, Key(key.namespace, set_name(key.name, color)))
        return DeploymentView.of(deployment) if deployment else DeploymentView()

    def _table(self, kind: Kind) -> Any:
        if kind is POD:
            return self.pods.known
        return self._nodes.known if kind is NODE else self._objects[kind]

    def _forget(self, kind: Kind, key: Key, uid: str) -> set[Key]:
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
        known = self._table(kind).get(key)
        if known is None or known.uid != uid:
            return set()
        if kind is NODE:
            self._nodes.forget(key)
            return self._waiting()
        if kind is POD:
            return self.pods.forget(key)
        del self._objects[kind][key]
        if kind is RESOURCE:
            self._refused.discard(key)
        elif secondary := self._secondary_children.get(known.owner):
            secondary.discard((kind, key))
        return {known.owner}

    def _note_refused(self, key: Key, body: Object) -> None:
        if condition(body.get("status", {}), ACCEPTED).get("status") == "False":
            self._refused.add(key)
        else:
            self._refused.discard(key)

    def _waiting(self) -> set[Key]:
        """Return the resources that depend on the nodes.

        Those with pods that wait for a node, and those that are refused, perhaps because no node
        is large enough.
        """
        return self.pods.waiting() | self._refused


def _child(kind: Kind, resource: Key) -> Key:
    """Return the key of a resource's child of a kind."""
    return Key(resource.namespace, name_of(kind, resource.name))
