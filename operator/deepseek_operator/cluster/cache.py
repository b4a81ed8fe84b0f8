"""What is watched, cut down to what is read, and found by the resource that it belongs to."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from deepseek_operator.cluster.drift import owned_fields
from deepseek_operator.cluster.kinds import (
    AUTOSCALER,
    CHILDREN,
    DEPLOYMENT,
    EVENT,
    NODE,
    POD,
    RESOURCE,
    SCALED_OBJECT,
    Kind,
)
from deepseek_operator.plan.labels import MANAGER, NAME
from deepseek_operator.plan.loading import Loading
from deepseek_operator.plan.observed import (
    WORKING,
    AutoscalerView,
    DeploymentView,
    NodeView,
    Observed,
    PodView,
)
from deepseek_operator.plan.status import ACCEPTED, condition

Object = dict[str, Any]

AUTOSCALERS = (AUTOSCALER, SCALED_OBJECT)


class Key(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Cache:
    """The newest known version of every watched object.

    Every method that changes something returns the resources that it concerns.

    Attributes:
        served: Names of the optional kinds that the cluster has.
    """

    def __init__(self) -> None:
        self.served: frozenset[str] = frozenset()
        self._objects: dict[Kind, dict[Key, Object]] = defaultdict(dict)
        self._pods_of: dict[Key, set[Key]] = defaultdict(set)
        # Children of another name than their resource: rare, so all others need no index.
        self._strays: dict[Key, set[tuple[Kind, Key]]] = defaultdict(set)
        self._mount_failures: dict[Key, str] = {}
        self._metrics_served_by = ""
        # Pods whose server runs but does not serve yet, and how far each is.
        self._loading: dict[Key, Loading | None] = {}

    def put(self, kind: Kind, body: Object) -> set[Key]:
        """Take in an object unless a newer version is known."""
        if kind is EVENT:
            return self._put_mount_failure(body)
        key = key_of(body)
        known = self._objects[kind].get(key)
        if known and _version(known) > _version(body):
            return set()
        slim = _slim(kind, body)
        self._objects[kind][key] = slim
        if kind is NODE:
            return self._unplaced() if known is None or _differs(known, slim) else set()
        owner = _owner(kind, slim)
        if kind is POD:
            self._pods_of[owner].add(key)
            self._note_loading(key, PodView.of(slim))
        elif key != owner:
            self._strays[owner].add((kind, key))
        # An autoscaler notes every few seconds what it has measured.
        return set() if kind in AUTOSCALERS and known and _same(known, slim) else {owner}

    def drop(self, kind: Kind, body: Object) -> set[Key]:
        """Forget an object that is gone."""
        key = key_of(body)
        known = self._objects[kind].get(key)
        if known is None or known["metadata"]["uid"] != body["metadata"]["uid"]:
            return set()
        del self._objects[kind][key]
        if kind is NODE:
            return self._unplaced()
        owner = _owner(kind, known)
        if kind is POD:
            self._pods_of[owner].discard(key)
            self._mount_failures.pop(key, None)
            self._loading.pop(key, None)
        elif strays := self._strays.get(owner):
            strays.discard((kind, key))
        return {owner}

    def replace(self, kind: Kind, bodies: Iterable[Object], version: int) -> set[Key]:
        """Take in a whole list of that version: what it lacks is gone, though no event said so.

        What is newer than the list was made while it was read, and stays.
        """
        listed = {key_of(body): body for body in bodies}
        concerned: set[Key] = set()
        for key, known in list(self._objects[kind].items()):
            if key not in listed and _version(known) <= version:
                concerned |= self.drop(kind, known)
        for body in listed.values():
            concerned |= self.put(kind, body)
        return concerned

    def get(self, kind: Kind, key: Key) -> Object | None:
        """The newest known version of an object."""
        return self._objects[kind].get(key)

    def resources(self) -> list[Key]:
        """All known resources."""
        return list(self._objects[RESOURCE])

    def metrics_served_by(self, other: str) -> set[Key]:
        """Note who else serves custom.metrics.k8s.io, empty where the operator may."""
        if other == self._metrics_served_by:
            return set()
        self._metrics_served_by = other
        resources = self._objects[RESOURCE].items()
        return {key for key, body in resources if body["spec"].get("scaling")}

    def children(self, key: Key) -> list[tuple[Kind, Object]]:
        """Everything of a kind that we make that is labelled as a resource's."""
        places = [*((kind, key) for kind in CHILDREN), *self._strays.get(key, ())]
        return [
            (kind, body)
            for kind, name in places
            if (body := self._objects[kind].get(name)) and _owner(kind, body) == key
        ]

    def observe(self, key: Key) -> Observed:
        """What decisions about a resource need to know."""
        deployment = self.get(DEPLOYMENT, key)
        pods = [(name, self._objects[POD][name]) for name in sorted(self._pods_of[key])]
        autoscaler = self.get(AUTOSCALER, key) or self.get(SCALED_OBJECT, key)
        views = [
            (PodView.of(pod, self._mount_failures.get(name), self._loading.get(name)), pod)
            for name, pod in pods
        ]
        return Observed(
            deployment=DeploymentView.of(deployment) if deployment else DeploymentView(),
            pods=tuple(view for view, pod in views if not _end(pod)),
            leaving=tuple(
                datetime.fromisoformat(end)
                for view, pod in views
                if (end := _end(pod)) and view.scheduled
            ),
            nodes=tuple(NodeView.of(node) for node in self._objects[NODE].values()),
            autoscaler=AutoscalerView.of(autoscaler) if autoscaler else None,
            metrics_served_by=self._metrics_served_by,
            served=self.served,
        )

    def loading(self) -> list[tuple[Key, str, Loading | None]]:
        """Pods whose server runs but does not serve yet: where they are, and how far they were."""
        found = []
        for key, loading in self._loading.items():
            address = self._objects[POD][key]["status"].get("podIP")
            if address:
                found.append((key, address, loading))
        return found

    def put_loading(self, key: Key, loading: Loading | None) -> set[Key]:
        """Note how far a pod's server is with its model."""
        if key not in self._loading or self._loading[key] == loading:
            return set()
        self._loading[key] = loading
        return {_owner(POD, self._objects[POD][key])}

    def _note_loading(self, key: Key, pod: PodView) -> None:
        if pod.running and not pod.ready:
            self._loading.setdefault(key, None)
        else:
            self._loading.pop(key, None)

    def _put_mount_failure(self, event: Object) -> set[Key]:
        about = event["involvedObject"]
        key = Key(about.get("namespace", ""), about.get("name", ""))
        pod = self._objects[POD].get(key)
        message = event.get("message", "")
        if pod is None or self._mount_failures.get(key) == message:
            return set()
        self._mount_failures[key] = message
        return {_owner(POD, pod)}

    def _unplaced(self) -> set[Key]:
        """The resources to which it matters what the nodes are like.

        Those whose pods wait for one, and those that are refused, perhaps because none is large enough.
        """
        waiting = {
            _owner(POD, pod)
            for pod in self._objects[POD].values()
            if PodView.of(pod).unscheduled is not None
        }
        return waiting | {key for key, body in self._objects[RESOURCE].items() if _refused(body)}


def key_of(body: Object) -> Key:
    """The key of an object."""
    metadata = body["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def _end(pod: Object) -> str | None:
    """When a pod that was told to stop has to be gone."""
    end: str | None = pod["metadata"].get("deletionTimestamp")
    return end


def _owner(kind: Kind, body: Object) -> Key:
    if kind is RESOURCE:
        return key_of(body)
    metadata = body["metadata"]
    return Key(metadata["namespace"], metadata["labels"][NAME])


def _refused(body: Object) -> bool:
    accepted = condition(body.get("status") or {}, ACCEPTED)
    return accepted.get("status") == "False"


def _version(body: Object) -> int:
    """Resource versions grow; Kubernetes 1.35 and later promise it, etcd has always done it."""
    return int(body["metadata"].get("resourceVersion", 0))


def _slim(kind: Kind, body: Object) -> Object:
    """Only what is read: thousands of objects are kept."""
    metadata = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    if kind is RESOURCE:
        return {"metadata": metadata, "spec": body["spec"], "status": body.get("status", {})}
    if kind is NODE:
        allocatable = body.get("status", {}).get("allocatable", {})
        spec = {k: v for k, v in body.get("spec", {}).items() if k in ("taints", "unschedulable")}
        return {"metadata": metadata, "spec": spec, "status": {"allocatable": allocatable}}
    if kind in CHILDREN:
        record = {"manager": MANAGER, "operation": "Apply", "fieldsV1": owned_fields(body)}
        metadata["managedFields"] = [record]
        return {"metadata": metadata, **_slim_content(kind, body)}
    return {"metadata": metadata, "status": body.get("status", {})}


def _slim_content(kind: Kind, body: Object) -> Object:
    status = body.get("status", {})
    if kind is DEPLOYMENT:
        return {"spec": {"replicas": body.get("spec", {}).get("replicas", 0)}, "status": status}
    if kind in AUTOSCALERS:
        conditions = [item for item in status.get("conditions", []) if item["type"] in WORKING]
        return {"status": {"conditions": conditions}}
    return {"status": {}}


def _same(before: Object, after: Object) -> bool:
    """Whether only the version has changed."""
    version = after["metadata"]["resourceVersion"]
    return {**before, "metadata": {**before["metadata"], "resourceVersion": version}} == after


def _differs(before: Object, after: Object) -> bool:
    return NodeView.of(before) != NodeView.of(after)
