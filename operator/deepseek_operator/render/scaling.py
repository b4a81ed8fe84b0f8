"""What the manifests of both autoscalers, Kubernetes' and KEDA's, have in common."""

from typing import Any

from deepseek_operator.api.scaling import Scaling
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.desired.scaling import goals, promql
from deepseek_operator.plan.state.labels import gang_name, set_name

TEMPLATES = {
    "operator": "horizontalpodautoscaler.yaml.j2",
    "prometheusAdapter": "horizontalpodautoscaler.yaml.j2",
    "keda": "scaledobject.yaml.j2",
}


def values(target: Target, scaling: Scaling) -> dict[str, Any]:
    """What the templates need beyond the target."""
    return {
        "goals": goals(scaling),
        "promql": promql,
        "pods_of": set_name(target.resource.name, target.slot),
        "behavior": behavior(scaling),
        "scaled": _scaled(target),
    }


def _scaled(target: Target) -> dict[str, str]:
    """What has the number of replicas."""
    name, slot = target.resource.name, target.slot
    if target.pods == 1:
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": set_name(name, slot)}
    version = "leaderworkerset.x-k8s.io/v1"
    return {"apiVersion": version, "kind": "LeaderWorkerSet", "name": gang_name(name, slot)}


def behavior(scaling: Scaling) -> dict[str, Any]:
    """How fast replicas go; they come as fast as Kubernetes' defaults let them.

    A replica that is taken away has to load the model again when it is missed, so at most half of
    them go in a minute.
    """
    return {
        "scaleDown": {
            "stabilizationWindowSeconds": scaling.scale_in.stabilization_seconds,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 50, "periodSeconds": 60},
                {"type": "Pods", "value": 1, "periodSeconds": 60},
            ],
        }
    }
