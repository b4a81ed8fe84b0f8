"""What the manifests of both autoscalers, Kubernetes' and KEDA's, have in common."""

from typing import Any

from deepseek_operator.api.scaling import Scaling
from deepseek_operator.plan.scaling import goals, promql

TEMPLATES = {
    "operator": "horizontalpodautoscaler.yaml.j2",
    "prometheusAdapter": "horizontalpodautoscaler.yaml.j2",
    "keda": "scaledobject.yaml.j2",
}


def values(scaling: Scaling) -> dict[str, Any]:
    """What the templates need beyond the target."""
    return {"goals": goals(scaling), "promql": promql, "behavior": behavior(scaling)}


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
