"""How the number of replicas passes from the operator to an autoscaler without a jump.

As long as the operator sends `spec.replicas`, it owns the field. When its only owner stops sending
a field, the API server sets it to its default, which is 1. So the number that is there is applied
in another manager's name first; the autoscaler takes it over from that one with its first change.
On the way back nothing is needed: the operator sends the number again and takes the field over.
"""

from collections.abc import Mapping
from typing import Any

from deepseek_operator.cluster.drift import owned_fields
from deepseek_operator.plan.state import labels

MANAGER = f"{labels.MANAGER}-replicas"

Object = Mapping[str, Any]


def is_due(live: Object) -> bool:
    """Whether an autoscaled Deployment can't be left to its autoscaler as it is.

    The operator owns the number, or it is 0, at which an autoscaler counts itself as switched off.
    """
    owned = "f:replicas" in owned_fields(live).get("f:spec", {})
    return owned or live.get("spec", {}).get("replicas") == 0


def manifest(deployment: Object, live: Object, least: int) -> dict[str, Any]:
    """What is to be applied as `MANAGER`: the number that is there, but at least `least`."""
    metadata = {key: deployment["metadata"][key] for key in ("name", "namespace")}
    return {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        # Of this very object: a successor would be made with nothing but a number in it.
        "metadata": {**metadata, "uid": live["metadata"]["uid"]},
        "spec": {"replicas": max(live["spec"]["replicas"], least)},
    }
