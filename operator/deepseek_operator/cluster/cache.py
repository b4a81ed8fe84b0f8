"""What is watched, cut down to what is read, and found by the resource that it belongs to."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any

from deepseek_operator.cluster.cached_object import Kept, Key, Mark, key_of, version_of
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
from deepseek_operator.plan.progressive.rollout_state import Record
from deepseek_operator.plan.state.labels import BLUE, RECORD, Slot, gang_name, set_name
from deepseek_operator.plan.state.observed import AutoscalerView, DeploymentView, Observed, PodView
from deepseek_operator.plan.status.conditions import ACCEPTED, condition

__all__ = ["Cache", "Key", "key_of"]

Object = dict[str, Any]

# Far more than can be deleted while the answer to a write is under way.
REMEMBERED = 10_000


class Cache:
    """The newest known version of every watched object.

    Every method that changes something returns the resources that it concerns: those for which
    something that is read has changed.

    Attributes:
        served: Names of the optional kinds that the cluster has.
        pods: The pods among the objects.
    """

    def __init__(self) -> None:
        self.served: frozenset[str] = frozenset()
        self.pods = Pods()
        self._objects: dict[Kind, dict[Key, Kept]] = defaultdict(dict)
        self._nodes = Nodes()
        # Resources that are refused, perhaps because no node is large enough.
        self._refused: set[Key] = set()
        # Children of another name than their resource: rare, so all others need no index.
        self._strays: dict[Key, set[tuple[Kind, Key]]] = {}
        self._metrics_served_by = ""
        # uids of what was deleted last.
        self._gone: OrderedDict[str, None] = OrderedDict()

    def put(self, kind: Kind, body: Object) -> set[Key]:
        """Take in an object unless this version of it or a newer one is known."""
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
        kept = Kept.of(kind, body)
        before = self._objects[kind].get(key)
        self._objects[kind][key] = kept
        if kind is RESOURCE:
            self._note_refused(key, body)
        elif key != _child(kind, kept.owner):
            self._strays.setdefault(kept.owner, set()).add((kind, key))
        return set() if before and before.same(kept) else {kept.owner}

    def put_written(self, kind: Kind, body: Object) -> None:
        """Take in the answer to a write, unless the object is known to be gone.

        Of what is deleted right after it was written, the events can be here before the answer.
        """
        if body["metadata"]["uid"] not in self._gone:
            self.put(kind, body)

    def drop(self, kind: Kind, body: Object) -> set[Key]:
        """Forget an object that is gone."""
        return self._forget(kind, key_of(body), body["metadata"].get("uid", ""))

    def prune(self, kind: Kind, listed: set[Key], version: int) -> set[Key]:
        """Forget what a whole list of that version lacks, though no event said that it is gone.

        What is newer than the list was made while it was read, and stays.
        """
        gone = [
            (key, known.uid)
            for key, known in self._table(kind).items()
            if key not in listed and known.version <= version
        ]
        return {owner for key, uid in gone for owner in self._forget(kind, key, uid)}

    def replace(self, kind: Kind, bodies: Iterable[Object], version: int) -> set[Key]:
        """Take in a whole list of that version."""
        bodies = list(bodies)
        concerned = {owner for body in bodies for owner in self.put(kind, body)}
        return concerned | self.prune(kind, {key_of(body) for body in bodies}, version)

    def get(self, kind: Kind, key: Key) -> Object | None:
        """The newest known version of a resource or a child, as far as it is kept."""
        kept = self._objects[kind].get(key)
        return kept.body() if kept else None

    def version(self, kind: Kind, key: Key) -> int:
        """The newest known version, 0 where there is none."""
        known = self._table(kind).get(key)
        return known.version if known else 0

    def metrics_served_by(self, other: str) -> set[Key]:
        """Note who else serves custom.metrics.k8s.io, empty where the operator may."""
        if other == self._metrics_served_by:
            return set()
        self._metrics_served_by = other
        resources = self._objects[RESOURCE].items()
        return {key for key, kept in resources if kept.body()["spec"].get("scaling")}

    def children(self, key: Key) -> list[tuple[Kind, Object]]:
        """Everything of a kind that we make that is labelled as a resource's."""
        places = [*((kind, _child(kind, key)) for kind in CHILDREN), *self._strays.get(key, ())]
        found = ((kind, self._objects[kind].get(name)) for kind, name in places)
        return [(kind, kept.body()) for kind, kept in found if kept and kept.owner == key]

    def marks(self, key: Key) -> tuple[Mark | None, ...]:
        """What tells of every child of a resource whether it still is as applied."""
        places = [(kind, _child(kind, key)) for kind in CHILDREN]
        strays = sorted(self._strays.get(key, ()), key=lambda place: (place[0].called, place[1]))
        found = (self._objects[kind].get(name) for kind, name in (*places, *strays))
        return tuple(kept.mark if kept else None for kept in found)

    def record(self, key: Key) -> Record | None:
        """How far the change from one set of a resource's pods to another is."""
        service = self.get(SERVICE, key)
        notes = service["metadata"].get("annotations", {}) if service else {}
        return Record.parse(notes.get(RECORD))

    def has_second(self, key: Key) -> bool:
        """Whether a resource has a set of pods in the second place."""
        kinds = {kind for kind, _ in self._strays.get(key, ())}
        return DEPLOYMENT in kinds or LEADER_WORKER_SET in kinds

    def revisions(self, resource: Object) -> dict[str, Revision]:
        """What sets of a resource's pods were made of, by name."""
        key, uid = key_of(resource), resource["metadata"]["uid"]
        found = {}
        for kind, name in self._strays.get(key, ()):
            body = self.get(kind, name) if kind is CONTROLLER_REVISION else None
            if body and controller_uid(body) == uid and "deletionTimestamp" not in body["metadata"]:
                revision = name.name.removeprefix(f"{key.name}-")
                found[revision] = Revision(revision, body["data"], body["revision"])
        return found

    def resources(self) -> list[Key]:
        """All known resources."""
        return list(self._objects[RESOURCE])

    def count(self, kind: Kind) -> int:
        """How many objects of a kind are known."""
        return len(self._table(kind))

    def observe(self, key: Key, slot: Slot = BLUE) -> Observed:
        """What decisions about a set of a resource's pods need to know."""
        pods = self.pods.staying(key, slot)
        autoscaler = next((body for k in AUTOSCALERS if (body := self.get(k, key))), None)
        return Observed(
            deployment=self._workload(key, slot, pods),
            pods=pods,
            leaving=self.pods.leaving(key, slot),
            failed=self.pods.failed(key, slot),
            nodes=self._nodes.views(),
            autoscaler=AutoscalerView.of(autoscaler) if autoscaler else None,
            metrics_served_by=self._metrics_served_by,
            served=self.served,
            heard={
                kind.name: tuple(body["heard"])
                for kind in ANSWERED
                if (body := self.get(kind, key))
            },
        )

    def _workload(self, key: Key, slot: Slot, pods: tuple[PodView, ...]) -> DeploymentView:
        """What runs the pods of a set."""
        if groups := self.get(LEADER_WORKER_SET, Key(key.namespace, gang_name(key.name, slot))):
            return DeploymentView.of_groups(groups, pods)
        deployment = self.get(DEPLOYMENT, Key(key.namespace, set_name(key.name, slot)))
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
        elif strays := self._strays.get(known.owner):
            strays.discard((kind, key))
        return {known.owner}

    def _note_refused(self, key: Key, body: Object) -> None:
        if condition(body.get("status", {}), ACCEPTED).get("status") == "False":
            self._refused.add(key)
        else:
            self._refused.discard(key)

    def _waiting(self) -> set[Key]:
        """The resources to which it matters what the nodes are like.

        Those whose pods wait for one, and those that are refused, perhaps because none is large
        enough.
        """
        return self.pods.waiting() | self._refused


def _child(kind: Kind, resource: Key) -> Key:
    """The key of a resource's child of a kind."""
    return Key(resource.namespace, name_of(kind, resource.name))
