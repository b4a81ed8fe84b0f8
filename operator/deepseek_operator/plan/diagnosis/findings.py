"""Reasons why a replica does not serve: a chain of checks over pods and nodes, most serious first."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.desired.pod_template import KEYS_VOLUME
from deepseek_operator.plan.rolling import group_failures as gangs
from deepseek_operator.plan.sizing.gpus import Gpus
from deepseek_operator.plan.state.loading import DESCRIPTIONS, DOWNLOADING, LOADING, WARMING_UP
from deepseek_operator.plan.state.observed import (
    EXIT_MODEL_UNUSABLE,
    EXIT_SOURCE_UNREACHABLE,
    GpuContention,
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
# Findings about scheduling; all others are about containers.
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
# Findings of a normal start.
ORDINARY = frozenset({STARTING, DOWNLOADING, LOADING, WARMING_UP})
# Findings that resolve when capacity is freed or a node is added.
WAITING = frozenset({WAITING_FOR_NODE, WAITING_FOR_GPU, WAITING_IN_QUEUE})
# Findings that only another spec, or other files at the source, can resolve.
STALLED = frozenset({MODEL_UNUSABLE, OUT_OF_MEMORY, REPLICA_STOPPED})


@dataclass(frozen=True)
class Finding:
    """The reason why a replica does not serve.

    Attributes:
        reason: Machine-readable, in CamelCase.
        summary: A few words for the phase.
        message: The problem, its place, and the next step.
    """

    reason: str
    summary: str
    message: str


def _stopped(observed: Observed) -> Finding | None:
    """Return a finding for a multi-pod replica that is stopped or pauses after failures."""
    serving = {replica.group for replica in observed.replicas if replica.ready}
    down = [item for item in observed.groups if item.index not in serving]
    item = min(down, key=lambda item: not item.stopped, default=None)
    if item is None:
        return None
    if item.stopped:
        return Finding(REPLICA_STOPPED, f"Replica {item.index} was stopped", gangs.describe(item))
    summary = f"Replica {item.index} restarts at {item.held_until}"
    return Finding(REPLICA_PAUSES, summary, gangs.describe(item))


Check = Callable[[DesiredState, Observed, PodView], Finding | None]


def _blocked(desired: DesiredState, observed: Observed, pod: PodView) -> Finding | None:
    """Return a finding for replicas that are each partly scheduled and wait for the same nodes."""
    if desired.pods == 1 or pod.unscheduled is None:
        return None
    scheduled = Counter(item.group for item in observed.pods if item.scheduled)
    half = [number for number in scheduled.values() if number < desired.pods]
    complete = len(scheduled) - len(half)
    more = sum(half) // desired.pods
    if not more:
        return None
    return Finding(
        REPLICAS_BLOCK_EACH_OTHER,
        f"{len(half)} replicas block each other",
        f"{len(half)} replicas have nodes for only some of their {desired.pods} pods. Their "
        f"{sum(half)} scheduled pods would suffice for {more} more complete replica(s). "
        f"Set replicas to {complete + more}, or set scheduling.queue so that Kueue admits only "
        f"whole replicas. Scheduler: {pod.unscheduled}"
        f"{_since(pod.unscheduled_since)}",
    )


def _queued(desired: DesiredState, observed: Observed, pod: PodView) -> Finding | None:
    """Return a finding for a pod that a scheduling gate holds back."""
    if not pod.gated:
        return None
    waiting = sum(replica.gated for replica in observed.replicas)
    where = f"in queue {desired.queue}" if desired.queue else "at a scheduling gate"
    see = "; see kubectl get workloads" if desired.queue else ""
    return Finding(
        WAITING_IN_QUEUE,
        f"{waiting} of {len(observed.replicas)} replicas wait {where}",
        f"{waiting} of {len(observed.replicas)} replicas wait {where} and hold no resources. "
        f"They start when they are admitted{see}.",
    )


def _unschedulable(desired: DesiredState, observed: Observed, pod: PodView) -> Finding | None:
    if pod.unscheduled is None:
        return None
    gpus, contention = desired.gpus, observed.gpu_contention
    scheduler = f"Scheduler: {pod.unscheduled}{_since(pod.unscheduled_since)}"
    fitting = [node for node in observed.nodes if gpus and gpus.fit(node)]
    if gpus and not fitting:
        return Finding(NO_FITTING_NODE, f"No node has {gpus}", _no_node(gpus, observed.nodes))
    if (gpus is None and contention is None) or (contention and contention.free_slots):
        message = f"No node can run pod {pod.name} now. {_contention(contention)}{scheduler}"
        return Finding(WAITING_FOR_NODE, "Waiting for a node", message)
    part = "A replica" if desired.pods == 1 else f"Each of {desired.pods} pods of a replica"
    needed = (
        f"{part} needs {gpus} on one node; {len(fitting)} node(s) are large enough "
        f"({_names(fitting)}), but none can run pod {pod.name} now."
        if gpus
        else f"No node can run pod {pod.name} now."
    )
    # Devices that only `podTemplate` requests are known by their resource name alone.
    waits_for = gpus or (contention and contention.devices)
    message = f"{needed} {_contention(contention)}{scheduler}"
    return Finding(WAITING_FOR_GPU, f"Waiting for {waits_for}", message)


def _contention(usage: GpuContention | None) -> str:
    """Return a sentence about the free devices and their holders, empty if usage is unknown."""
    if usage is None or not usage.nodes:
        return ""
    shown = ", ".join(f"{name} ({number})" for name, number in usage.holders[:HOLDERS_SHOWN])
    more = len(usage.holders) - HOLDERS_SHOWN
    holders = f"{shown} and {more} more" if more > 0 else shown or "no pods"
    return (
        f"{usage.free} of {usage.total} {usage.devices} are free on {len(usage.nodes)} eligible "
        f"node(s); held by {holders}. "
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
            f"{needed}, but no node is labelled with this kind of GPU ({labels}). Label the nodes "
            "(NVIDIA GPU feature discovery does), choose another accelerator.profile, or add a node."
        )
    return (
        f"{needed}, but no node advertises {gpus.resource}. Install NVIDIA's device plug-in or GPU "
        "operator, add a GPU node, or leave accelerator out to run on the CPU."
    )


def _names(nodes: list[NodeView]) -> str:
    names = sorted(node.name for node in nodes)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _unmountable(desired: DesiredState, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.mount_failure is None:
        return None
    keys = desired.authorization.keys
    if keys and f'"{KEYS_VOLUME}"' in pod.mount_failure:
        return Finding(
            MOUNT_FAILED,
            "Cannot mount the API keys",
            f"Pod {pod.name} can't mount the Secret of security.apiKeys. Create Secret "
            f"{keys.secret_name} with the key {keys.key}. Kubelet: {pod.mount_failure}",
        )
    return Finding(
        MOUNT_FAILED,
        "Cannot mount the weights",
        f"A volume of pod {pod.name} can't be mounted. Source of the weights: {desired.source}. "
        f"Kubelet: {pod.mount_failure}",
    )


def _image_unavailable(desired: DesiredState, _observed: Observed, pod: PodView) -> Finding | None:
    reason, message = pod.waiting or ("", "")
    if reason not in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        return None
    return Finding(
        IMAGE_UNAVAILABLE,
        "Cannot pull the image",
        f"Image {desired.image} can't be pulled; check engine.image and the pull secrets. "
        f"Kubelet: {message or reason}",
    )


def _container_refused(_desired: DesiredState, _observed: Observed, pod: PodView) -> Finding | None:
    reason, message = pod.waiting or ("", "")
    if reason not in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return None
    return Finding(
        CONTAINER_REFUSED,
        "The server can't be started",
        f"The container of pod {pod.name} can't be started: {message or reason}",
    )


def _ended(desired: DesiredState, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.exited is None or pod.ready:
        return None
    code, reason, message = pod.exited
    if desired.pods > 1 and gangs.CONSEQUENCE in message:
        return None  # it ended because another pod did, which reports the cause
    # Only the bundled server has defined exit codes and ends its output with a sentence.
    speaks = desired.engine == "transformers"
    if speaks and code == EXIT_MODEL_UNUSABLE:
        return Finding(MODEL_UNUSABLE, "The model can't be loaded", message)
    if speaks and code == EXIT_SOURCE_UNREACHABLE and desired.pods > 1:
        # With several pods this code also stands for pods that were killed or ended with another one.
        return Finding(REPLICA_FAILED, "A pod of a replica has failed", message)
    if speaks and code == EXIT_SOURCE_UNREACHABLE:
        return Finding(SOURCE_UNREACHABLE, "The weights can't be fetched", message)
    if speaks and code == gangs.EXIT_GANG:
        return Finding(gangs.PREFLIGHT_FAILED, "The preflight of a replica has failed", message)
    if reason == "OOMKilled":
        return Finding(
            OUT_OF_MEMORY,
            "Out of memory",
            f"The server of pod {pod.name} exceeded its memory limit. Raise "
            "resources.limits.memory of container server in podTemplate.spec, or use a smaller model.",
        )
    if code == 0 or pod.running:
        return None
    last_line = message.splitlines()[-1].strip() if message else "no message"
    return Finding(
        SERVER_CRASHED,
        "The server crashed",
        f"The server of pod {pod.name} ({desired.image}) ended with exit code {code}: {last_line} "
        f"(see kubectl logs --previous {pod.name})",
    )


def _loading(desired: DesiredState, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.ready or not pod.running:
        return None
    since = _since(pod.started)
    loading = pod.loading
    if loading is None:
        message = f"Loading the model from {desired.source}{since}."
        return Finding(LOADING, DESCRIPTIONS[LOADING], message)
    until = f"; done at about {loading.ends:%Y-%m-%dT%H:%M:%SZ}" if loading.ends else ""
    message = f"{loading}. Source: {desired.source}{since}{until}."
    return Finding(loading.stage, str(loading), message)


def _starting(_desired: DesiredState, _observed: Observed, pod: PodView) -> Finding | None:
    if pod.ready:
        return None
    message = "Pods are starting: images are pulled and volumes are mounted."
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


def find(desired: DesiredState, observed: Observed) -> Finding | None:
    """Return the most serious reason why a replica does not serve, None if all serve."""
    if observed.deployment.failure:
        return Finding(PODS_REFUSED, "Pods can't be created", observed.deployment.failure)
    if stopped := _stopped(observed):
        return stopped
    for check in CHAIN:
        for pod in observed.pods:
            if finding := check(desired, observed, pod):
                return finding
    return None
