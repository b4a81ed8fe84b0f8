"""Drift detection; the managed fields are in the form that the API server writes."""

import copy
from typing import Any

from deepseek_operator.cluster.drift import in_sync

MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "r1",
        "namespace": "apps",
        "labels": {"app.kubernetes.io/name": "x"},
        "annotations": {"deepseek-operator.io/manifest-hash": "h1"},
        "ownerReferences": [{"uid": "u-1", "name": "r1", "controller": True}],
    },
    "spec": {
        "selector": {"a": "b"},
        "ports": [{"port": 80, "protocol": "TCP", "name": "http", "targetPort": "http"}],
    },
}
OWNED: dict[str, Any] = {
    "f:metadata": {
        "f:labels": {"f:app.kubernetes.io/name": {}},
        "f:annotations": {"f:deepseek-operator.io/manifest-hash": {}},
        "f:ownerReferences": {'k:{"uid":"u-1"}': {}},
    },
    "f:spec": {
        "f:selector": {},
        "f:ports": {
            'k:{"port":80,"protocol":"TCP"}': {
                ".": {},
                "f:port": {},
                "f:protocol": {},
                "f:name": {},
                "f:targetPort": {},
            }
        },
    },
}


def live(
    owned: dict[str, Any] = OWNED, digest: str = "h1", manager: str = "deepseek-operator"
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "r1",
            "annotations": {"deepseek-operator.io/manifest-hash": digest},
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {}}},
                {"manager": manager, "operation": "Apply", "fieldsV1": owned},
            ],
        }
    }


def without(*path: str) -> dict[str, Any]:
    """Return the managed fields after another manager took a field over; empty parts disappear."""
    owned = copy.deepcopy(OWNED)
    nodes = [owned]
    for part in path[:-1]:
        nodes.append(nodes[-1][part])
    for part, node in zip(reversed(path), reversed(nodes), strict=True):
        del node[part]
        if node:
            break
    return owned


def test_an_object_as_applied_is_in_sync() -> None:
    assert in_sync(MANIFEST, live())


def test_another_manifest_hash_is_drift() -> None:
    assert not in_sync(MANIFEST, live(digest="h0"))


def test_a_changed_field_is_drift() -> None:
    assert not in_sync(
        MANIFEST, live(without("f:metadata", "f:labels", "f:app.kubernetes.io/name"))
    )
    assert not in_sync(MANIFEST, live(without("f:spec", "f:selector")))


def test_a_changed_field_of_a_list_item_is_drift() -> None:
    port = 'k:{"port":80,"protocol":"TCP"}'
    assert not in_sync(MANIFEST, live(without("f:spec", "f:ports", port, "f:targetPort")))


def test_a_removed_list_item_is_drift() -> None:
    assert not in_sync(
        MANIFEST, live(without("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}'))
    )


def test_an_object_that_the_operator_never_applied_is_drift() -> None:
    assert not in_sync(MANIFEST, live(manager="another"))
