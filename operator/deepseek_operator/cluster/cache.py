"""What is watched, cut down to what is read, and found by the resource that it belongs to."""

from collections import defaultdict
from collections.abc import Iterable
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

    Attributes:
        served: Names of the optional kinds that the cluster has.
    """

    def __init__(self) -> None:
        self.served: frozenset[str] = frozenset()
        self._objects: dict[Kind, dict[Key, Object]] = defaultdict(dict)
        self._pods_of: dict[Key, set[Key]] = defaultdict(set)
        self._mount_failures: dict[Key, str] = {}

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
        resource = accelerators().resource
        return Observed(
            deployment=DeploymentView.of(deployment) if deployment else DeploymentView(),
            pods=tuple(
                PodView.of(pod, self._mount_failures.get(name))
                for name, pod in pods
                if "deletionTimestamp" not in pod["metadata"]
            ),
            nodes=tuple(NodeView.of(node, resource) for node in self._objects[NODE].values()),
            served=self.served,
        )

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
        return {"metadata": metadata, "status": {"allocatable": allocatable}}
    if kind in CHILDREN:
        record = {"manager": MANAGER, "operation": "Apply", "fieldsV1": owned_fields(body)}
        metadata["managedFields"] = [record]
        return {
            "metadata": metadata,
            "status": body.get("status", {}) if kind is DEPLOYMENT else {},
        }
    return {"metadata": metadata, "status": body.get("status", {})}


def _differs(before: Object, after: Object) -> bool:
    resource = accelerators().resource
    return NodeView.of(before, resource) != NodeView.of(after, resource)
