"""The labels of everything that the operator makes; a fixed list, nothing is copied from the resource."""

from deepseek_operator.api.section import GROUP

PREFIX = f"{GROUP}/"
NAME = f"{PREFIX}name"
CONFIG_HASH = f"{PREFIX}config-hash"
MANIFEST_HASH = f"{PREFIX}manifest-hash"
# On a Deployment: the step of its rollout, and the pod template that it is for.
ROLLOUT_STEP = f"{PREFIX}rollout-step"
TEMPLATE_HASH = f"{PREFIX}template-hash"
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


def gang_name(name: str) -> str:
    """The name of what starts the pods of replicas that have several.

    LeaderWorkerSet makes a Service of the same name, which must not be that of the resource.
    """
    return f"{name}-gang"


def selector(name: str) -> dict[str, str]:
    """The labels by which a Service and a Deployment find the pods of a resource."""
    return {NAME: name}


def labels(name: str) -> dict[str, str]:
    """The labels of the children of a resource."""
    return {
        "app.kubernetes.io/name": "deepseek-model",
        "app.kubernetes.io/instance": name,
        MANAGED_BY: MANAGER,
        **selector(name),
    }
