"""What keeps a replica from serving: a chain of checks over pods and nodes, the weightiest first."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.desired.pod_template import KEYS_VOLUME
from deepseek_operator.plan.rolling import group_failures as gangs
from deepseek_operator.plan.sizing.gpus import Gpus
from deepseek_operator.plan.state.loading import DOWNLOADING, LOADING, WARMING_UP, WORDS
from deepseek_operator.plan.state.observed import (
    EXIT_MODEL_UNUSABLE,
    EXIT_SOURCE_UNREACHABLE,
    Crowd,
    NodeView,
    Observed,
    PodView,
)

PODS_REFUSED = "PodsRefused"
NO_FITTING_NODE = "NoFittingNode"
WAITING_FOR_NODE = "WaitingForNode"
WAITING_FOR_GPU = "WaitingForGPU"
WAITING_IN_QUEUE = "WaitingInQueue"
MOUNT_FAILED = "MountFailed"
IMAGE_UNAVAILABLE = "ImageUnavailable"
CONTAINER_REFUSED = "ContainerRefused"
MODEL_UNUSABLE = "ModelUnusable"
SOURCE_UNREACHABLE = "SourceUnreachable"
OUT_OF_MEMORY = "OutOfMemory"
SERVER_CRASHED = "ServerCrashed"
STARTING = "Starting"
REPLICAS_BLOCK_EACH_OTHER = "ReplicasBlockEachOther"
REPLICA_FAILED = "ReplicaFailed"
REPLICA_STOPPED = "ReplicaStopped"
REPLICA_PAUSES = "ReplicaPauses"

# Holders of GPUs that are named in a message.
HOLDERS_SHOWN = 5
# Findings about where pods run; all others are about what runs in them.
PLACEMENT = frozenset(
    {
        PODS_REFUSED,
        NO_FITTING_NODE,
        WAITING_FOR_NODE,
        WAITING_FOR_GPU,
        WAITING_IN_QUEUE,
        REPLICAS_BLOCK_EACH_OTHER,
    }
)
# Findings that are the ordinary course of a start.
ORDINARY = frozenset({STARTING, DOWNLOADING, LOADING, WARMING_UP})
# Findings that pass by themselves when somebody frees or adds a node.
WAITING = frozenset({WAITING_FOR_NODE, WAITING_FOR_GPU, WAITING_IN_QUEUE})
# Findings that nothing but another spec, or other files at the source, can mend.
STALLED = frozenset({MODEL_UNUSABLE, OUT_OF_MEMORY, REPLICA_STOPPED})


@dataclass(frozen=True)
class Finding:
    """Why a replica does not serve.

    Attributes:
        reason: One CamelCase word for programs.
        summary: A few words for the phase.
        message: What is wrong, where, and what to do.
    """

    reason: str
    summary: str
    message: str


def _stopped(observed: Observed) -> Finding | None:
    """A replica of several pods that does not start again by itself."""
    serving = {replica.group for replica in observed.replicas if replica.ready}
    down = [item for item in observed.groups if item.index not in serving]
    item = min(down, key=lambda item: not item.stopped, default=None)
    if item is None:
        return None
    if item.stopped:
        return Finding(REPLICA_STOPPED, f"Replica {item.index} was stopped", gangs.words(item))
    summary = f"Replica {item.index} starts again at {item.held_until}"
    return Finding(REPLICA_PAUSES, summary, gangs.words(item))


Check = Callable[[Target, Observed, PodView], Finding | None]


def _blocked(target: Target, observed: Observed, pod: PodView) -> Finding | None:
    """Replicas that each have a part of what one of them would need, and wait for the rest."""
    if target.pods == 1 or pod.unscheduled is None:
        return None
    placed = Counter(item.group for item in observed.pods if item.scheduled)
    half = [number for number in placed.values() if number < target.pods]
    complete = len(placed) - len(half)
    more = sum(half) // target.pods
    if not more:
        return None
    return Finding(
        REPLICAS_BLOCK_EACH_OTHER,
        f"{len(half)} replicas block each other",
        f"{len(half)} replicas have nodes for some of their {target.pods} pods and wait for the "
        f"others: {sum(half)} pods hold places with which {more} more of them would be complete. "
        f"Set replicas to {complete + more}, or have Kueue admit whole replicas only "
        f"(scheduling.queue). The scheduler says: {pod.unscheduled}"
        f"{_since(pod.unscheduled_since)}",
    )


def _queued(target: Target, observed: Observed, pod: PodView) -> Finding | None:
    """A replica that the scheduler has not been allowed to look at."""
    if not pod.gated:
        return None
    waiting = sum(replica.gated for replica in observed.replicas)
    where = f"queue {target.queue}" if target.queue else "a scheduling gate"
    see = ", which kubectl get workloads tells about" if target.queue else ""
    return Finding(
        WAITING_IN_QUEUE,
        f"{waiting} of {len(observed.replicas)} replicas wait in {where}",
        f"{waiting} of {len(observed.replicas)} replicas wait in {where} and hold nothing meanwhile. "
        f"They start as soon as they are admitted{see}.",
    )


def _unschedulable(target: Target, observed: Observed, pod: PodView) -> Finding | None:
    if pod.unscheduled is None:
        return None
    gpus, crowd = target.gpus, observed.crowd
    scheduler = f"The scheduler says: {pod.unscheduled}{_since(pod.unscheduled_since)}"
    fitting = [node for node in observed.nodes if gpus and gpus.fit(node)]
    if gpus and not fitting:
        return Finding(NO_FITTING_NODE, f"No node has {gpus}", _no_node(gpus, observed.nodes))
    if (gpus is None and crowd is None) or (crowd and crowd.places):
        message = f"No node takes pod {pod.name}. {_crowded(crowd)}{scheduler}"
        return Finding(WAITING_FOR_NODE, "Waiting for a node", message)
    part = "A replica" if target.pods == 1 else f"Each of {target.pods} pods of a replica"
    needed = (
        f"{part} needs {gpus} on one node; {len(fitting)} node(s) are large enough "
        f"({_names(fitting)}), but none takes pod {pod.name} now."
        if gpus
        else f"No node takes pod {pod.name} now."
    )
    # Devices that `podTemplate` alone asks for have no other name than that of their resource.
    waits_for = gpus or (crowd and crowd.devices)
    message = f"{needed} {_crowded(crowd)}{scheduler}"
    return Finding(WAITING_FOR_GPU, f"Waiting for {waits_for}", message)


def _crowded(crowd: Crowd | None) -> str:
    """Who holds what is waited for, where somebody looked."""
    if crowd is None or not crowd.nodes:
        return ""
    shown = ", ".join(f"{name} ({number})" for name, number in crowd.holders[:HOLDERS_SHOWN])
    more = len(crowd.holders) - HOLDERS_SHOWN
    holders = f"{shown} and {more} more" if more > 0 else shown or "nobody"
    return (
        f"Of {crowd.total} {crowd.devices} on {len(crowd.nodes)} node(s) that it may use "
        f"{crowd.free} are free; held by {holders}. "
    )


def _since(time: datetime | None) -> str:
    return f" (since {time:%Y-%m-%dT%H:%M:%SZ})" if time else ""


def _no_node(gpus: Gpus, nodes: tuple[NodeView, ...]) -> str:
    needed = f"A replica needs {gpus} ({gpus.count} {gpus.resource}) on one node"
    matching = [node for node in nodes if gpus.of_node(node) and gpus.match(node)]
    if matching:
        largest = max(matching, key=gpus.of_node)
        return (
            f"{needed}, but the largest of {len(matching)} matching node(s), {largest.name}, has "
            f"{gpus.of_node(largest)}. Set accelerator.count to {gpus.of_node(largest)} or less, or add "
            "a larger node."
        )
    if gpus.profile:
        labels = ", ".join(f"{label}={'|'.join(values)}" for label, values in gpus.nodes.items())
        return (
            f"{needed}, but no node has a label that marks such a GPU ({labels}). Label the nodes "
            "(NVIDIA's GPU feature discovery does), choose another accelerator.profile, or add a node."
        )
    return (
        f"{needed}, but no node advertises {gpus.resource}. Install NVIDIA's device plug-in or GPU "
        "operator, add a GPU node, or leave accelerator out to run on the CPU."
    )


def _names(nodes: list[NodeView]) -> str:
    names = sorted(node.name for node in nodes)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _unmountable(target: Target, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.mount_failure is None:
        return None
    keys = target.trust.keys
    if keys and f'"{KEYS_VOLUME}"' in pod.mount_failure:
        return Finding(
            MOUNT_FAILED,
            "Cannot mount the API keys",
            f"Pod {pod.name} needs Secret {keys.secret_name} with the key {keys.key}, as "
            f"security.apiKeys says. The kubelet says: {pod.mount_failure}",
        )
    return Finding(
        MOUNT_FAILED,
        "Cannot mount the weights",
        f"A volume of pod {pod.name} can't be mounted. The weights come from: {target.source}. "
        f"The kubelet says: {pod.mount_failure}",
    )


def _image_unavailable(target: Target, _observed: Observed, pod: PodView) -> Finding | None:
    reason, message = pod.waiting or ("", "")
    if reason not in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        return None
    return Finding(
        IMAGE_UNAVAILABLE,
        "Cannot pull the image",
        f"Image {target.image} can't be pulled; check engine.image and the pull secrets. "
        f"The kubelet says: {message or reason}",
    )


def _container_refused(_target: Target, _observed: Observed, pod: PodView) -> Finding | None:
    reason, message = pod.waiting or ("", "")
    if reason not in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return None
    return Finding(
        CONTAINER_REFUSED,
        "The server can't be started",
        f"The container of pod {pod.name} can't be started: {message or reason}",
    )


def _ended(target: Target, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.exited is None or pod.ready:
        return None
    code, reason, message = pod.exited
    if target.pods > 1 and gangs.CONSEQUENCE in message:
        return None  # it ended because another one did, which says why
    # Only the bundled server's codes mean something, and only its last word is a sentence.
    speaks = target.engine == "transformers"
    if speaks and code == EXIT_MODEL_UNUSABLE:
        return Finding(MODEL_UNUSABLE, "The model can't be loaded", message)
    if speaks and code == EXIT_SOURCE_UNREACHABLE and target.pods > 1:
        # Of several pods also what ends because of another one, or is killed, may be tried again.
        return Finding(REPLICA_FAILED, "A part of a replica has failed", message)
    if speaks and code == EXIT_SOURCE_UNREACHABLE:
        return Finding(SOURCE_UNREACHABLE, "The weights can't be fetched", message)
    if speaks and code == gangs.EXIT_GANG:
        return Finding(
            gangs.PREFLIGHT_FAILED, "The pods of a replica do not work together", message
        )
    if reason == "OOMKilled":
        return Finding(
            OUT_OF_MEMORY,
            "Out of memory",
            f"The server of pod {pod.name} needed more memory than its limit. Raise "
            "resources.limits.memory of container server in podTemplate.spec, or take a smaller model.",
        )
    if code == 0 or pod.running:
        return None
    last_line = message.splitlines()[-1].strip() if message else "it said nothing"
    return Finding(
        SERVER_CRASHED,
        "The server crashed",
        f"The server of pod {pod.name} ({target.image}) ended with exit code {code}: {last_line} "
        f"(see kubectl logs --previous {pod.name})",
    )


def _loading(target: Target, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.ready or not pod.running:
        return None
    since = _since(pod.started)
    loading = pod.loading
    if loading is None:
        message = f"The model is loaded from {target.source}{since}."
        return Finding(LOADING, WORDS[LOADING], message)
    until = f"; this step ends at about {loading.ends:%Y-%m-%dT%H:%M:%SZ}" if loading.ends else ""
    message = f"{loading}. The model comes from {target.source}{since}{until}."
    return Finding(loading.stage, str(loading), message)


def _starting(_target: Target, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.ready:
        return None
    message = "Pods are being started: their image is pulled, their volumes are mounted."
    return Finding(STARTING, "Starting", message)


CHAIN: tuple[Check, ...] = (
    _unmountable,
    _image_unavailable,
    _container_refused,
    _ended,
    _blocked,
    _queued,
    _unschedulable,
    _loading,
    _starting,
)


def find(target: Target, observed: Observed) -> Finding | None:
    """The weightiest reason why a replica does not serve, or None where all do."""
    if observed.deployment.failure:
        return Finding(PODS_REFUSED, "Pods are refused", observed.deployment.failure)
    if stopped := _stopped(observed):
        return stopped
    for check in CHAIN:
        for pod in observed.pods:
            if finding := check(target, observed, pod):
                return finding
    return None
