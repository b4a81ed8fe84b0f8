"""The labels of everything that the operator makes; a fixed list, nothing is copied from the resource."""

from collections.abc import Mapping
from typing import Literal

from deepseek_operator.api.section import GROUP

# Where a set of pods has its place: two of them can serve side by side (plan/progressive/rollout_state.py).
Slot = Literal["blue", "green"]
BLUE: Slot = "blue"
GREEN: Slot = "green"

PREFIX = f"{GROUP}/"
NAME = f"{PREFIX}name"
CONFIG_HASH = f"{PREFIX}config-hash"
MANIFEST_HASH = f"{PREFIX}manifest-hash"
# On a Deployment: the step of its rollout, and the pod template that it is for.
ROLLOUT_STEP = f"{PREFIX}rollout-step"
TEMPLATE_HASH = f"{PREFIX}template-hash"
# On what runs the pods: the revision that they are of. On the Service: how far the change to another is.
REVISION = f"{PREFIX}revision"
RECORD = f"{PREFIX}rollout"
# Which of two sets a pod belongs to: its value is the set's name. A label of its own would have to
# be given to pods that run, which would replace them.
INSTANCE = "app.kubernetes.io/instance"
# What a pod of several is in its replica: `leader` or `worker`.
ROLE = f"{PREFIX}role"
LEADER, WORKER = "leader", "worker"
# Which of the replicas a pod belongs to, and which of its pods it is: by LeaderWorkerSet.
GROUP_INDEX = "leaderworkerset.sigs.k8s.io/group-index"
WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
# Which queue of Kueue something waits in.
QUEUE = "kueue.x-k8s.io/queue-name"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "deepseek-operator"
# What the operator lists and watches: nothing else of the cluster reaches it.
SELECTOR = f"{MANAGED_BY}={MANAGER},{NAME}"


def other(slot: Slot) -> Slot:
    """The place beside a place."""
    return GREEN if slot == BLUE else BLUE


def set_name(name: str, slot: Slot) -> str:
    """The name of a set of pods: of its Deployment and its ConfigMap, and in the label of its pods."""
    return name if slot == BLUE else f"{name}-{slot}"


def gang_name(name: str, slot: Slot = BLUE) -> str:
    """The name of what starts the pods of replicas that have several.

    LeaderWorkerSet makes a Service of the same name, which must not be that of the resource.
    """
    return f"{set_name(name, slot)}-gang"


def service_name(name: str, slot: Slot) -> str:
    """The name of the Service of one set alone."""
    return f"{name}-{slot}"


def selector(name: str, slot: Slot | None = None) -> dict[str, str]:
    """The labels by which a Service and a Deployment find the pods of a resource.

    Args:
        name: Of the resource.
        slot: Those of one set alone; None: of both.
    """
    alone = {INSTANCE: set_name(name, slot)} if slot else {}
    return {NAME: name, **alone}


def labels(name: str, slot: Slot = BLUE) -> dict[str, str]:
    """The labels of the children of a resource, and of the pods of one of its sets."""
    return {
        "app.kubernetes.io/name": "deepseek-model",
        INSTANCE: set_name(name, slot),
        MANAGED_BY: MANAGER,
        **selector(name),
    }


def slot_of(labels: Mapping[str, str]) -> Slot:
    """The set that a pod or a child belongs to."""
    return GREEN if labels.get(INSTANCE) == set_name(labels.get(NAME, ""), GREEN) else BLUE
