"""Labels of all objects that the operator creates: a fixed list, nothing is copied from the resource."""

from collections.abc import Mapping
from typing import Literal

from deepseek_operator.api.section import GROUP

# Color of a set of pods: two sets can serve side by side (plan/progressive/rollout_state.py).
Color = Literal["blue", "green"]
BLUE: Color = "blue"
GREEN: Color = "green"

PREFIX = f"{GROUP}/"
NAME = f"{PREFIX}name"
CONFIG_HASH = f"{PREFIX}config-hash"
MANIFEST_HASH = f"{PREFIX}manifest-hash"
# On a Deployment: the step of its rollout, and the hash of the pod template that it is for.
ROLLOUT_STEP = f"{PREFIX}rollout-step"
TEMPLATE_HASH = f"{PREFIX}template-hash"
# On a Deployment or LeaderWorkerSet: the revision of its pods. On the Service: the rollout state.
REVISION = f"{PREFIX}revision"
ROLLOUT_STATE = f"{PREFIX}rollout"
# Identifies a pod's set: its value is the set's name. A new label would have to be added to running
# pods, which would replace them.
INSTANCE = "app.kubernetes.io/instance"
# Role of a pod in a multi-pod replica: `leader` or `worker`.
ROLE = f"{PREFIX}role"
LEADER, WORKER = "leader", "worker"
# Index of a pod's replica, and of the pod within it, set by LeaderWorkerSet.
GROUP_INDEX = "leaderworkerset.sigs.k8s.io/group-index"
WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
# The Kueue queue of a workload.
QUEUE = "kueue.x-k8s.io/queue-name"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "deepseek-operator"
# Selects the objects that the operator lists and watches; it receives no others.
SELECTOR = f"{MANAGED_BY}={MANAGER},{NAME}"


def other(color: Color) -> Color:
    """Return the other color."""
    return GREEN if color == BLUE else BLUE


def set_name(name: str, color: Color) -> str:
    """Return the name of a set of pods, used for its Deployment, its ConfigMap and its pods' label."""
    return name if color == BLUE else f"{name}-{color}"


def gang_name(name: str, color: Color = BLUE) -> str:
    """Return the name of the LeaderWorkerSet of a set.

    LeaderWorkerSet creates a Service of the same name, which must differ from the resource's Service.
    """
    return f"{set_name(name, color)}-gang"


def service_name(name: str, color: Color) -> str:
    """Return the name of the Service that selects one set only."""
    return f"{name}-{color}"


def selector(name: str, color: Color | None = None) -> dict[str, str]:
    """Return the labels by which Services and Deployments select the pods of a resource.

    Args:
        name: Name of the resource.
        color: Color of a single set; None: both sets.
    """
    alone = {INSTANCE: set_name(name, color)} if color else {}
    return {NAME: name, **alone}


def labels(name: str, color: Color = BLUE) -> dict[str, str]:
    """Return the labels of the children of a resource, and of the pods of one of its sets."""
    return {
        "app.kubernetes.io/name": "deepseek-model",
        INSTANCE: set_name(name, color),
        MANAGED_BY: MANAGER,
        **selector(name),
    }


def color_of(labels: Mapping[str, str]) -> Color:
    """Return the color of the set that a pod or child belongs to."""
    return GREEN if labels.get(INSTANCE) == set_name(labels.get(NAME, ""), GREEN) else BLUE
