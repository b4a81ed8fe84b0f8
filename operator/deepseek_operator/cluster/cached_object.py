"""Compact form of a watched object: thousands of them have to fit into little memory.

A decoded object takes about ten times the memory of its text, and its managed fields are most of
it. So the fields that are read are kept as text, and the managed fields, which differ between the
children of a kind only by the UID of their owner, are kept once for all of them.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from deepseek_operator.cluster.drift import controller_uid, owned_fields
from deepseek_operator.cluster.kinds import (
    ANSWERED,
    AUTOSCALERS,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    LEADER_WORKER_SET,
    RESOURCE,
    Kind,
)
from deepseek_operator.plan.state.labels import MANAGER, MANIFEST_HASH, NAME
from deepseek_operator.plan.state.observed import WORKING
from deepseek_operator.plan.traffic import route_status as acceptance

Object = dict[str, Any]

# Metadata that is never read; an annotation may repeat the whole spec.
DROPPED = frozenset({"managedFields", "resourceVersion", "creationTimestamp", "selfLink"})
DROPPED_OF_CHILDREN = DROPPED | {"labels"}
DROPPED_OF_RESOURCES = DROPPED | {"labels", "annotations"}
OWNER_UID = "<uid of the owner>"


class Key(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Fingerprint(NamedTuple):
    """Fingerprint of a child that decides whether it still is as applied.

    Attributes:
        manifest: Hash of the manifest that was applied.
        controller: UID of the owner that controls it.
        owned: Fields that the operator owns, as text with a placeholder for the owner's UID.
    """

    manifest: str
    controller: str
    owned: str


@dataclass(frozen=True, slots=True)
class CachedObject:
    """One version of an object, reduced to what is read.

    Attributes:
        version: Its resource version.
        uid: Its UID.
        owner: The resource that it belongs to; a resource is its own owner.
        text: The fields that are read, as JSON without the version.
        fingerprint: Fingerprint of a child, None for a resource.
    """

    version: int
    uid: str
    owner: Key
    text: str
    fingerprint: Fingerprint | None = None

    @classmethod
    def of(cls, kind: Kind, body: Object) -> "CachedObject":
        """Return the compact form of a resource or a child."""
        metadata = body["metadata"]
        if kind is RESOURCE:
            read_metadata = _without(metadata, DROPPED_OF_RESOURCES)
            read = {
                "metadata": read_metadata,
                "spec": body["spec"],
                "status": body.get("status", {}),
            }
            return cls(version_of(body), metadata["uid"], key_of(body), _text(read))
        read = {"metadata": _without(metadata, DROPPED_OF_CHILDREN)}
        if kind is DEPLOYMENT:
            read["spec"] = {"replicas": body.get("spec", {}).get("replicas", 0)}
            read["status"] = body.get("status", {})
        if kind is CONTROLLER_REVISION:
            read |= {"revision": body.get("revision", 0), "data": body.get("data") or {}}
        if kind is LEADER_WORKER_SET:
            # Its progress is read from its pods.
            read["spec"] = {"replicas": body.get("spec", {}).get("replicas", 0)}
        if kind in AUTOSCALERS:
            # Its status changes with each measurement; only whether it works is read.
            conditions = body.get("status", {}).get("conditions", [])
            read["status"] = {"conditions": [c for c in conditions if c["type"] in WORKING]}
        if kind in ANSWERED:
            read["routeConditions"] = acceptance.conditions(kind.name, body.get("status", {}))
        return cls(
            version_of(body), metadata["uid"], owner_of(body), _text(read), _fingerprint(body)
        )

    def body(self) -> Object:
        """Return the object, reduced to what is read, with the operator's managed fields."""
        body: Object = json.loads(self.text)
        body["metadata"]["resourceVersion"] = str(self.version)
        if self.fingerprint is not None:
            fields = json.loads(
                self.fingerprint.owned.replace(OWNER_UID, self.fingerprint.controller)
            )
            record = {"manager": MANAGER, "operation": "Apply", "fieldsV1": fields}
            body["metadata"]["managedFields"] = [record]
        return body

    def same(self, other: "CachedObject") -> bool:
        """Return whether no field that is read differs."""
        return self.text == other.text and self.fingerprint == other.fingerprint


def key_of(body: Object) -> Key:
    """Return the key of an object."""
    metadata = body["metadata"]
    # Interned, because all objects of a resource share its name.
    return Key(sys.intern(metadata.get("namespace", "")), sys.intern(metadata["name"]))


def owner_of(body: Object) -> Key:
    """Return the key of the resource that a child or pod belongs to."""
    metadata = body["metadata"]
    return Key(sys.intern(metadata["namespace"]), sys.intern(metadata["labels"][NAME]))


def version_of(body: Object) -> int:
    """Return the resource version of an object as a number.

    Versions grow: Kubernetes 1.35 and later guarantee it, etcd has always done it.
    """
    return int(body["metadata"].get("resourceVersion", 0))


def _fingerprint(body: Object) -> Fingerprint:
    controller = controller_uid(body)
    owned = _text(owned_fields(body))
    if controller:
        owned = owned.replace(controller, OWNER_UID)
    manifest = body["metadata"].get("annotations", {}).get(MANIFEST_HASH, "")
    return Fingerprint(manifest, controller, sys.intern(owned))


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _without(metadata: Object, names: frozenset[str]) -> Object:
    return {name: value for name, value in metadata.items() if name not in names}
