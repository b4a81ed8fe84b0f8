"""What is watched, cut down to what is read, and found by the resource that it belongs to."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.cluster.drift import owned_fields
from deepseek_operator.cluster.kinds import (
    CHILDREN,
    DEPLOYMENT,
    EVENT,
    NODE,
    POD,
    RESOURCE,
    Kind,
)
from deepseek_operator.plan.labels import MANAGER, NAME
from deepseek_operator.plan.loading import Loading
from deepseek_operator.plan.observed import DeploymentView, NodeView, Observed, PodView

Object = dict[str, Any]


class Key(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Cache:
    """The newest known version of every watched object.

    Every method that changes something returns the resources that it concerns.
    """

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Object]] = defaultdict(dict)
        self._pods_of: dict[Key, set[Key]] = defaultdict(set)
        self._mount_failures: dict[Key, str] = {}
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
        return {owner}

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

    def observe(self, key: Key) -> Observed:
        """What decisions about a resource need to know."""
        deployment = self.get(DEPLOYMENT, key)
        pods = [(name, self._objects[POD][name]) for name in sorted(self._pods_of[key])]
        views = [
            (PodView.of(pod, self._mount_failures.get(name), self._loading.get(name)), pod)
            for name, pod in pods
        ]
        resource = accelerators().resource
        return Observed(
            deployment=DeploymentView.of(deployment) if deployment else DeploymentView(),
            pods=tuple(view for view, pod in views if not _end(pod)),
            leaving=tuple(
                datetime.fromisoformat(end)
                for view, pod in views
                if (end := _end(pod)) and view.scheduled
            ),
            nodes=tuple(NodeView.of(node, resource) for node in self._objects[NODE].values()),
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
        """The resources whose pods wait for a node: what the nodes are like matters to them."""
        return {
            _owner(POD, pod)
            for pod in self._objects[POD].values()
            if PodView.of(pod).unscheduled is not None
        }


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
        if kind is DEPLOYMENT:
            spec = {"replicas": body.get("spec", {}).get("replicas", 0)}
            return {"metadata": metadata, "spec": spec, "status": body.get("status", {})}
        return {"metadata": metadata, "status": {}}
    return {"metadata": metadata, "status": body.get("status", {})}


def _differs(before: Object, after: Object) -> bool:
    resource = accelerators().resource
    return NodeView.of(before, resource) != NodeView.of(after, resource)
