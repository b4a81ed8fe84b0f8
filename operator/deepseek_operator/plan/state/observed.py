"""Observed state of the cluster, reduced to what decisions need."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from deepseek_operator.api.status import GroupStatus, RolloutStatus
from deepseek_operator.plan.state.labels import (
    BLUE,
    GROUP_INDEX,
    REVISION,
    ROLLOUT_STEP,
    TEMPLATE_HASH,
    WORKER_INDEX,
    Color,
    color_of,
)
from deepseek_operator.plan.state.loading import Loading
from deepseek_operator.plan.state.route_conditions import RouteConditions

SERVER = "server"
SIDECAR = "istio-proxy"
# Reason of the condition PodScheduled for a pod with scheduling gates.
GATED = "SchedulingGated"
# Exit codes of the model server whose termination message is a sentence for the user.
EXIT_MODEL_UNUSABLE = 3
EXIT_SOURCE_UNREACHABLE = 4

Object = Mapping[str, Any]


@dataclass(frozen=True)
class PodView:
    """A pod of a resource.

    Attributes:
        gated: Whether a scheduling gate holds it back.
        unscheduled: The scheduler's message if it found no node, else None.
        unscheduled_since: Time since which it is unschedulable or gated, else None.
        waiting: Why the server's container is waiting (reason, message), else None.
        exited: Last termination of the server (exit code, reason, termination message), else None.
        mount_failure: The kubelet's message if a volume could not be mounted, else None.
        started: Start of the server's container, else None.
        loading: Load progress of the server, None if not reported.
        group: Index of its multi-pod replica, None if it is a replica by itself.
        index: Index within its replica; 0 is the leader.
        template: Hash of its pod template, for multi-pod replicas.
        created: Time of creation.
        ended: Last failure of its server, None if it has not failed.
        leaving: Whether it is terminating.
        color: Color of its set.
        ready_changed: Last transition of its readiness, None if unknown.
        sidecar: Whether it has the sidecar of a mesh.
    """

    name: str
    ready: bool = False
    running: bool = False
    scheduled: bool = False
    gated: bool = False
    unscheduled: str | None = None
    unscheduled_since: datetime | None = None
    waiting: tuple[str, str] | None = None
    exited: tuple[int, str, str] | None = None
    mount_failure: str | None = None
    started: datetime | None = None
    loading: Loading | None = None
    group: int | None = None
    index: int = 0
    template: str = ""
    created: datetime | None = None
    ended: datetime | None = None
    leaving: bool = False
    color: Color = BLUE
    ready_changed: datetime | None = None
    sidecar: bool = False

    @classmethod
    def of(
        cls, pod: Object, mount_failure: str | None = None, loading: Loading | None = None
    ) -> "PodView":
        """Return the view of a Pod object."""
        metadata, status = pod["metadata"], pod.get("status", {})
        labels = metadata.get("labels", {})
        conditions = {item["type"]: item for item in status.get("conditions", [])}
        scheduled = conditions.get("PodScheduled", {})
        gated = scheduled.get("reason") == GATED
        refused = scheduled.get("status") == "False" and not gated
        server: Object = next(
            (item for item in status.get("containerStatuses", []) if item["name"] == SERVER), {}
        )
        state = server.get("state", {})
        waiting = state.get("waiting")
        ended = state.get("terminated") or server.get("lastState", {}).get("terminated")
        return cls(
            name=metadata["name"],
            ready=conditions.get("Ready", {}).get("status") == "True",
            running="running" in state,
            scheduled=scheduled.get("status") == "True",
            gated=gated,
            unscheduled=scheduled.get("message", "") if refused else None,
            unscheduled_since=_time(scheduled.get("lastTransitionTime"))
            if refused or gated
            else None,
            waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else None,
            exited=_exit(ended) if ended else None,
            mount_failure=None if "running" in state else mount_failure,
            started=_time(state["running"].get("startedAt")) if "running" in state else None,
            loading=loading,
            group=int(labels[GROUP_INDEX]) if GROUP_INDEX in labels else None,
            index=int(labels.get(WORKER_INDEX, 0)),
            template=metadata.get("annotations", {}).get(TEMPLATE_HASH, ""),
            created=_time(metadata.get("creationTimestamp")),
            ended=_ended_by_itself(metadata, ended) if ended else None,
            leaving="deletionTimestamp" in metadata,
            color=color_of(labels),
            ready_changed=_time(conditions.get("Ready", {}).get("lastTransitionTime")),
            sidecar=_has_sidecar(pod.get("spec", {})),
        )


def _has_sidecar(spec: Object) -> bool:
    """Tell whether a pod has a sidecar, as a container or as a native sidecar (init container)."""
    containers = [*spec.get("containers", []), *spec.get("initContainers", [])]
    return any(container["name"] == SIDECAR for container in containers)


def _ended_by_itself(metadata: Object, terminated: Object) -> datetime | None:
    """Return when a server failed, None if it succeeded or its pod was already being deleted."""
    if terminated["exitCode"] == 0:  # a worker that ended with its leader
        return None
    ended = _time(terminated.get("finishedAt"))
    gone = _time(metadata.get("deletionTimestamp"))
    if ended is None or gone is None:
        return ended
    deletion_requested = gone - timedelta(seconds=metadata.get("deletionGracePeriodSeconds", 0))
    return None if ended > deletion_requested else ended


def replicas(pods: Iterable[PodView]) -> tuple[PodView, ...]:
    """Merge the pods of each replica: scheduled when all pods are, and ready when the leader is."""
    single: list[PodView] = []
    groups: dict[int, list[PodView]] = {}
    for pod in pods:
        if pod.group is None:
            single.append(pod)
        else:
            groups.setdefault(pod.group, []).append(pod)
    return (*single, *(_together(groups[index]) for index in sorted(groups)))


def _together(pods: list[PodView]) -> PodView:
    leader = min(pods, key=lambda pod: pod.index)
    waiting = next((pod for pod in pods if pod.unscheduled is not None), leader)
    placed = all(pod.scheduled for pod in pods)
    return replace(
        leader,
        ready=leader.ready and leader.index == 0 and placed,
        scheduled=placed,
        gated=any(pod.gated for pod in pods),
        unscheduled=waiting.unscheduled,
        unscheduled_since=waiting.unscheduled_since,
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _exit(ended: Object) -> tuple[int, str, str]:
    return ended["exitCode"], ended.get("reason", ""), ended.get("message", "").strip()


@dataclass(frozen=True)
class DeploymentView:
    """The Deployment of a resource, or the LeaderWorkerSet for multi-pod replicas.

    Attributes:
        wanted: Replicas in its spec, set by the operator or an autoscaler; None: it does not exist.
        settled: Whether its controller has observed the newest spec.
        step: Rollout step from its annotation.
        failure: Why pods could not be created (quota, admission), else None.
        revision: Revision of its pods, empty if revisions are not used.
    """

    wanted: int | None = None
    replicas: int = 0
    updated: int = 0
    settled: bool = False
    step: str | None = None
    failure: str | None = None
    revision: str = ""

    @property
    def rolling(self) -> bool:
        """Whether pods of an older spec exist."""
        return self.replicas > self.updated

    @classmethod
    def of(cls, deployment: Object) -> "DeploymentView":
        """Return the view of a Deployment object."""
        status = deployment.get("status", {})
        failures = [
            item.get("message", "")
            for item in status.get("conditions", [])
            if item["type"] == "ReplicaFailure" and item["status"] == "True"
        ]
        notes = deployment["metadata"].get("annotations", {})
        return cls(
            wanted=deployment.get("spec", {}).get("replicas", 0),
            replicas=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            settled=status.get("observedGeneration", 0)
            >= deployment["metadata"].get("generation", 0),
            step=notes.get(ROLLOUT_STEP),
            failure=failures[0] if failures else None,
            revision=notes.get(REVISION, ""),
        )

    @classmethod
    def of_groups(cls, groups: Object, pods: Iterable[PodView]) -> "DeploymentView":
        """Return the view of a LeaderWorkerSet object.

        Its status may be about an older spec and has no observed generation, so its groups are counted
        by the template hash of their pods.

        Args:
            groups: The object.
            pods: Its pods that are not terminating.
        """
        notes = groups["metadata"].get("annotations", {})
        leaders = [pod for pod in pods if pod.group is not None and pod.index == 0]
        return cls(
            wanted=groups.get("spec", {}).get("replicas", 0),
            replicas=len(leaders),
            updated=sum(pod.template == notes.get(TEMPLATE_HASH) for pod in leaders),
            settled=True,
            step=notes.get(ROLLOUT_STEP),
            revision=notes.get(REVISION, ""),
        )


# The condition that an autoscaler works: of the HorizontalPodAutoscaler, of the ScaledObject.
WORKING = ("ScalingActive", "Ready")


@dataclass(frozen=True)
class AutoscalerView:
    """The HorizontalPodAutoscaler or ScaledObject of a resource.

    Attributes:
        active: Whether it is working, None if not reported yet.
        reason: Reason of its condition.
        message: Message of its condition.
    """

    active: bool | None = None
    reason: str = ""
    message: str = ""

    @classmethod
    def of(cls, autoscaler: Object) -> "AutoscalerView":
        """Return the view of an autoscaler."""
        for item in autoscaler.get("status", {}).get("conditions", []):
            if item["type"] in WORKING and item["status"] != "Unknown":
                active = item["status"] == "True"
                return cls(active, item.get("reason", ""), item.get("message", ""))
        return cls()


@dataclass(frozen=True)
class NodeView:
    """A node, reduced to what decides whether a pod fits.

    Attributes:
        allocatable: Quantities by resource.
        schedulable: Whether it accepts new pods (it is not cordoned).
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    schedulable: bool = True

    @classmethod
    def of(cls, node: Object) -> "NodeView":
        """Return the view of a Node object."""
        metadata, spec = node["metadata"], node.get("spec", {})
        allocatable = node.get("status", {}).get("allocatable", {})
        return cls(
            metadata["name"],
            metadata.get("labels", {}),
            allocatable,
            tuple(spec.get("taints", [])),
            not spec.get("unschedulable", False),
        )


@dataclass(frozen=True)
class ConfigFile:
    """A model's config.json on the hub.

    Attributes:
        endpoint: URL of the hub, empty for the public one.
        model_id: The repository.
        revision: Its branch, tag or commit.
        content: Its content, None if it could not be read.
        problem: Why it could not be read, as the second half of a sentence.
    """

    endpoint: str
    model_id: str
    revision: str
    content: Mapping[str, Any] | None = None
    problem: str = ""


@dataclass(frozen=True)
class GpuContention:
    """Usage of the devices that a pod waits for.

    Attributes:
        nodes: Names of the nodes that could run the pod if they were empty.
        devices: Name of the resource.
        total: Number of devices on these nodes.
        free_slots: Number of further such pods that the free devices suffice for, other resources aside.
        holders: Devices held by each holder, by name, largest first.
    """

    nodes: tuple[str, ...]
    devices: str
    total: int
    free_slots: int
    holders: tuple[tuple[str, int], ...]

    @property
    def free(self) -> int:
        """Number of free devices."""
        return self.total - sum(number for _, number in self.holders)


@dataclass(frozen=True)
class Observed:
    """The observed state of one resource.

    Attributes:
        pods: Its pods that are not terminating.
        leaving: Deadlines of its terminating pods.
        gpu_contention: Usage of the devices that a pod waits for, None if not determined.
        changed: Whether a new pod template was applied to running pods.
        failed: Pods of multi-pod replicas whose server has ended, including terminating ones.
        groups: Multi-pod replicas that are held back after failures.
        config: The model's config.json, None if it was not requested.
        metrics_served_by: Another server of custom.metrics.k8s.io, empty if the operator may serve it.
        served: Names of the optional kinds that the cluster has, such as PodMonitor.
        extra_ready: Ready replicas of a second set that also serves requests.
        change: Status of a canary or blue-green rollout, None if there is none.
        route_conditions: Conditions that other controllers set for its route, by kind.
    """

    deployment: DeploymentView = DeploymentView()
    pods: tuple[PodView, ...] = ()
    nodes: tuple[NodeView, ...] = field(default=(), repr=False)
    config: ConfigFile | None = None
    autoscaler: AutoscalerView | None = None
    metrics_served_by: str = ""
    served: frozenset[str] = frozenset()
    leaving: tuple[datetime, ...] = ()
    gpu_contention: GpuContention | None = None
    changed: bool = False
    failed: tuple[PodView, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    extra_ready: int = 0
    change: RolloutStatus | None = None
    route_conditions: RouteConditions = field(default_factory=dict)

    @property
    def replicas(self) -> tuple[PodView, ...]:
        """Its replicas, each with its pods merged into one view."""
        return replicas(self.pods)

    @property
    def ready(self) -> int:
        """Number of ready replicas, counted from pods, which are newer than the Deployment's status."""
        return sum(replica.ready for replica in self.replicas) + self.extra_ready
