"""What is watched, cut down to what is read, and found by the resource that it belongs to."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from deepseek_operator.cluster.kept import Kept, Key, Mark, key_of, owner_of, version_of
from deepseek_operator.cluster.kinds import (
    AUTOSCALERS,
    CHILDREN,
    DEPLOYMENT,
    EVENT,
    NODE,
    POD,
    RESOURCE,
    Kind,
)
from deepseek_operator.plan.loading import Loading
from deepseek_operator.plan.observed import (
    AutoscalerView,
    DeploymentView,
    NodeView,
    Observed,
    PodView,
)
from deepseek_operator.plan.status import ACCEPTED, condition

__all__ = ["Cache", "Key", "key_of"]

Object = dict[str, Any]

# Far more than can be deleted while the answer to a write is under way.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod.

    Attributes:
        address: Its IP address, empty where it has none.
        end: When it has to be gone, None where it was not told to stop.
    """

    version: int
    uid: str
    owner: Key
    view: PodView
    address: str
    end: datetime | None

    def same(self, other: "Pod") -> bool:
        """Whether nothing that is read differs."""
        return replace(self, version=0) == replace(other, version=0)


@dataclass(frozen=True, slots=True)
class Node:
    """What is kept of a node."""

    version: int
    uid: str
    view: NodeView


class Cache:
    """The newest known version of every watched object.

    Every method that changes something returns the resources that it concerns: those for which
    something that is read has changed.
    """

    def __init__(self) -> None:
        self.served: frozenset[str] = frozenset()
        self._objects: dict[Kind, dict[Key, Kept]] = defaultdict(dict)
        self._pods: dict[Key, Pod] = {}
        self._pods_of: dict[Key, set[Key]] = defaultdict(set)
        self._unplaced: set[Key] = set()
        self._nodes: dict[Key, Node] = {}
        self._node_views: tuple[NodeView, ...] | None = ()
        self._mount_failures: dict[Key, str] = {}
        # Pods whose server runs but does not serve yet, and how far each is.
        self._loading: dict[Key, Loading | None] = {}
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
            return self._put_mount_failure(body)
        key = key_of(body)
        known = self._table(kind).get(key)
        if known and known.version >= version_of(body):
            return set()
        if kind is NODE:
            return self._put_node(key, body)
        if kind is POD:
            return self._put_pod(key, body)
        kept = Kept.of(kind, body)
        before = self._objects[kind].get(key)
        self._objects[kind][key] = kept
        if kind is RESOURCE:
            self._note_refused(key, body)
        elif key != kept.owner:
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
        places = [*((kind, key) for kind in CHILDREN), *self._strays.get(key, ())]
        found = ((kind, self._objects[kind].get(name)) for kind, name in places)
        return [(kind, kept.body()) for kind, kept in found if kept and kept.owner == key]

    def loading(self) -> list[tuple[Key, str, Loading | None]]:
        """Pods whose server runs but does not serve yet: where they are, and how far they were."""
        found = ((key, self._pods[key].address, how_far) for key, how_far in self._loading.items())
        return [(key, address, how_far) for key, address, how_far in found if address]

    def put_loading(self, key: Key, loading: Loading | None) -> set[Key]:
        """Note how far a pod's server is with its model."""
        if key not in self._loading or self._loading[key] == loading:
            return set()
        self._loading[key] = loading
        return {self._pods[key].owner}

    def marks(self, key: Key) -> tuple[Mark | None, ...]:
        """What tells of every child of a resource whether it still is as applied."""
        found = (self._objects[kind].get(key) for kind in CHILDREN)
        return tuple(kept.mark if kept else None for kept in found)

    def resources(self) -> list[Key]:
        """All known resources."""
        return list(self._objects[RESOURCE])

    def count(self, kind: Kind) -> int:
        """How many objects of a kind are known."""
        return len(self._table(kind))

    def observe(self, key: Key) -> Observed:
        """What decisions about a resource need to know."""
        deployment = self.get(DEPLOYMENT, key)
        autoscaler = next((body for k in AUTOSCALERS if (body := self.get(k, key))), None)
        names = sorted(self._pods_of.get(key, ()))
        pods = [(self._pods[name], self._pod(name)) for name in names]
        return Observed(
            deployment=DeploymentView.of(deployment) if deployment else DeploymentView(),
            pods=tuple(view for pod, view in pods if pod.end is None),
            leaving=tuple(pod.end for pod, view in pods if pod.end and view.scheduled),
            nodes=self._all_nodes(),
            autoscaler=AutoscalerView.of(autoscaler) if autoscaler else None,
            metrics_served_by=self._metrics_served_by,
            served=self.served,
        )

    def _table(self, kind: Kind) -> Any:
        if kind is POD:
            return self._pods
        return self._nodes if kind is NODE else self._objects[kind]

    def _forget(self, kind: Kind, key: Key, uid: str) -> set[Key]:
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
        known = self._table(kind).get(key)
        if known is None or known.uid != uid:
            return set()
        del self._table(kind)[key]
        if kind is NODE:
            self._node_views = None
            return self._waiting()
        if kind is POD:
            self._pods_of[known.owner].discard(key)
            if not self._pods_of[known.owner]:
                del self._pods_of[known.owner]
            self._unplaced.discard(key)
            self._mount_failures.pop(key, None)
            self._loading.pop(key, None)
        elif kind is RESOURCE:
            self._refused.discard(key)
        elif strays := self._strays.get(known.owner):
            strays.discard((kind, key))
        return {known.owner}

    def _put_pod(self, key: Key, body: Object) -> set[Key]:
        end = body["metadata"].get("deletionTimestamp")
        pod = Pod(
            version_of(body),
            body["metadata"]["uid"],
            owner_of(body),
            PodView.of(body),
            body.get("status", {}).get("podIP", ""),
            datetime.fromisoformat(end) if end else None,
        )
        before = self._pods.get(key)
        self._pods[key] = pod
        self._pods_of[pod.owner].add(key)
        if pod.view.unscheduled is not None and pod.end is None:
            self._unplaced.add(key)
        else:
            self._unplaced.discard(key)
        if pod.view.running and not pod.view.ready:
            self._loading.setdefault(key, None)
        else:
            self._loading.pop(key, None)
        return set() if before and before.same(pod) else {pod.owner}

    def _pod(self, key: Key) -> PodView:
        view, failure = self._pods[key].view, self._mount_failures.get(key)
        if loading := self._loading.get(key):
            view = replace(view, loading=loading)
        if failure is None or view.running:
            return view
        return replace(view, mount_failure=failure)

    def _note_refused(self, key: Key, body: Object) -> None:
        if condition(body.get("status", {}), ACCEPTED).get("status") == "False":
            self._refused.add(key)
        else:
            self._refused.discard(key)

    def _put_node(self, key: Key, body: Object) -> set[Key]:
        view = NodeView.of(body)
        before = self._nodes.get(key)
        self._nodes[key] = Node(version_of(body), body["metadata"]["uid"], view)
        if before and before.view == view:
            return set()
        self._node_views = None
        return self._waiting()

    def _all_nodes(self) -> tuple[NodeView, ...]:
        """One tuple for all resources until a node changes."""
        if self._node_views is None:
            self._node_views = tuple(node.view for node in self._nodes.values())
        return self._node_views

    def _put_mount_failure(self, event: Object) -> set[Key]:
        about = event["involvedObject"]
        key = Key(about.get("namespace", ""), about.get("name", ""))
        pod = self._pods.get(key)
        message = event.get("message", "")
        if pod is None or self._mount_failures.get(key) == message:
            return set()
        self._mount_failures[key] = message
        return {pod.owner}

    def _waiting(self) -> set[Key]:
        """The resources to which it matters what the nodes are like.

        Those whose pods wait for one, and those that are refused, perhaps because none is large
        enough.
        """
        return {self._pods[key].owner for key in self._unplaced} | self._refused
