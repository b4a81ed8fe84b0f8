"""Template values shared by both autoscalers, HorizontalPodAutoscaler and KEDA's ScaledObject."""

from typing import Any

from deepseek_operator.api.scaling import Scaling
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.desired.scaling import goals, promql
from deepseek_operator.plan.state.labels import gang_name, set_name

TEMPLATES = {
    "operator": "horizontalpodautoscaler.yaml.j2",
    "prometheusAdapter": "horizontalpodautoscaler.yaml.j2",
    "keda": "scaledobject.yaml.j2",
}


def values(desired: DesiredState, scaling: Scaling) -> dict[str, Any]:
    """Return the template values for autoscaling."""
    return {
        "goals": goals(scaling),
        "promql": promql,
        "pods_of": set_name(desired.resource.name, desired.color),
        "behavior": behavior(scaling),
        "scaled": _scaled(desired),
    }


def _scaled(desired: DesiredState) -> dict[str, str]:
    """Return the reference to the scaled workload."""
    name, color = desired.resource.name, desired.color
    if desired.pods == 1:
        return {"apiVersion": "apps/v1", "kind": "Deployment", "name": set_name(name, color)}
    version = "leaderworkerset.x-k8s.io/v1"
    return {"apiVersion": version, "kind": "LeaderWorkerSet", "name": gang_name(name, color)}


def behavior(scaling: Scaling) -> dict[str, Any]:
    """Return the scale-down policy; scaling up uses Kubernetes' defaults.

    At most half of the replicas are removed per minute, because a replica that is needed again has to
    load the model again.
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
