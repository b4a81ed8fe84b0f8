"""Handover of the number of replicas from the operator to an autoscaler, without a jump.

As long as the operator sends `spec.replicas`, it owns the field. When its only owner stops sending
a field, the API server sets it to its default, which is 1. So the current number is first applied
by another field manager; the autoscaler takes it over from that one with its first change.
On the way back nothing is needed: the operator sends the number again and takes the field over.
"""

from collections.abc import Mapping
from typing import Any

from deepseek_operator.cluster.drift import owned_fields
from deepseek_operator.plan.state import labels

MANAGER = f"{labels.MANAGER}-replicas"

Object = Mapping[str, Any]


def is_due(live: Object) -> bool:
    """Return whether an autoscaled Deployment needs a handover before its autoscaler can scale it.

    It does if the operator owns the number, or if that is 0, which disables an autoscaler.
    """
    owned = "f:replicas" in owned_fields(live).get("f:spec", {})
    return owned or live.get("spec", {}).get("replicas") == 0


def manifest(deployment: Object, live: Object, least: int) -> dict[str, Any]:
    """Return the manifest to apply as `MANAGER`: the current number, but at least `least`."""
    metadata = {key: deployment["metadata"][key] for key in ("name", "namespace")}
    return {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        # The UID keeps the apply from creating an object with nothing but a number in it.
        "metadata": {**metadata, "uid": live["metadata"]["uid"]},
        "spec": {"replicas": max(live["spec"]["replicas"], least)},
    }
