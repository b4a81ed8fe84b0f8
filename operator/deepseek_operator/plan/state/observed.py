"""What was observed in the cluster, cut down to what decisions need."""

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
    Slot,
    slot_of,
)
from deepseek_operator.plan.state.loading import Loading
from deepseek_operator.plan.state.route_conditions import RouteConditions

SERVER = "server"
SIDECAR = "istio-proxy"
# The reason of a pod that has scheduling gates, for having no node.
GATED = "SchedulingGated"
# Exit codes of the model server whose termination message is a sentence for the user.
EXIT_MODEL_UNUSABLE = 3
EXIT_SOURCE_UNREACHABLE = 4

Object = Mapping[str, Any]


@dataclass(frozen=True)
class PodView:
    """A pod of a resource.

    Attributes:
        gated: Whether the scheduler is not allowed to look for a node yet.
        unscheduled: The scheduler's words where it found no node, else None.
        unscheduled_since: When it first found none, or was kept from looking, else None.
        waiting: Why the server's container does not run (reason, message), else None.
        exited: How it last ended (exit code, reason, termination message), else None.
        mount_failure: The kubelet's words where a volume could not be mounted, else None.
        started: When the server was started, else None.
        loading: How far it is with its model, None where it has not told.
        group: The replica that it is one of several pods of, None where it is one by itself.
        index: Which of its pods it is; 0 leads.
        template: The hash of what it was made of, where it is one of several.
        created: When it was made.
        ended: When its server last ended by itself, None where it has not.
        leaving: Whether it was told to stop.
        slot: In which of the two places of its resource it is.
        turned: Since when it is ready, or is not, None where nobody has said.
        sidecar: Whether it has one of a mesh.
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
    slot: Slot = BLUE
    turned: datetime | None = None
    sidecar: bool = False

    @classmethod
    def of(
        cls, pod: Object, mount_failure: str | None = None, loading: Loading | None = None
    ) -> "PodView":
        """The view of a Pod object."""
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
            slot=slot_of(labels),
            turned=_time(conditions.get("Ready", {}).get("lastTransitionTime")),
            sidecar=_has_sidecar(pod.get("spec", {})),
        )


def _has_sidecar(spec: Object) -> bool:
    """Of either kind: sidecars that start first are among the init containers."""
    containers = [*spec.get("containers", []), *spec.get("initContainers", [])]
    return any(container["name"] == SIDECAR for container in containers)


def _ended_by_itself(metadata: Object, terminated: Object) -> datetime | None:
    """When a server failed, None where it ended well or its pod had been told to stop by then."""
    if terminated["exitCode"] == 0:  # a pod of several that left with its leader
        return None
    ended = _time(terminated.get("finishedAt"))
    gone = _time(metadata.get("deletionTimestamp"))
    if ended is None or gone is None:
        return ended
    told = gone - timedelta(seconds=metadata.get("deletionGracePeriodSeconds", 0))
    return None if ended > told else ended


def replicas(pods: Iterable[PodView]) -> tuple[PodView, ...]:
    """Pods, those of one replica as one: placed when all of them are, and ready when their leader is."""
    alone: list[PodView] = []
    groups: dict[int, list[PodView]] = {}
    for pod in pods:
        if pod.group is None:
            alone.append(pod)
        else:
            groups.setdefault(pod.group, []).append(pod)
    return (*alone, *(_together(groups[index]) for index in sorted(groups)))


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
    """The Deployment of a resource, or the LeaderWorkerSet where its replicas have several pods.

    Attributes:
        wanted: How many replicas its spec asks for, whoever has written that; None: there is none.
        settled: Whether its controller has seen the newest spec.
        step: The step of its rollout, as noted on it.
        failure: Why pods could not be created (quota, admission), else None.
        revision: Of what its pods are made, empty where nobody asks.
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
        """Whether there are pods of an older spec."""
        return self.replicas > self.updated

    @classmethod
    def of(cls, deployment: Object) -> "DeploymentView":
        """The view of a Deployment object."""
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
        """The view of a LeaderWorkerSet object.

        What it says of itself may be about an older spec, and it does not say whether it is; so its
        groups are counted, by the hash that their pods carry.

        Args:
            groups: The object.
            pods: Its pods that are not on their way out.
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


# By kind of autoscaler, the condition that says whether it works.
WORKING = ("ScalingActive", "Ready")


@dataclass(frozen=True)
class AutoscalerView:
    """The HorizontalPodAutoscaler or ScaledObject of a resource.

    Attributes:
        active: Whether it decides, None as long as it has not said so.
        reason: Its own reason.
        message: Its own words.
    """

    active: bool | None = None
    reason: str = ""
    message: str = ""

    @classmethod
    def of(cls, autoscaler: Object) -> "AutoscalerView":
        """The view of an autoscaler."""
        for item in autoscaler.get("status", {}).get("conditions", []):
            if item["type"] in WORKING and item["status"] != "Unknown":
                active = item["status"] == "True"
                return cls(active, item.get("reason", ""), item.get("message", ""))
        return cls()


@dataclass(frozen=True)
class NodeView:
    """A node, as far as it matters whether a pod fits.

    Attributes:
        allocatable: Quantities by resource.
        schedulable: Whether it takes new pods at all (it is not cordoned).
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    schedulable: bool = True

    @classmethod
    def of(cls, node: Object) -> "NodeView":
        """The view of a Node object."""
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
        content: What is in it, None while nobody could read it.
        problem: Why it could not be read, as the second half of a sentence.
    """

    endpoint: str
    model_id: str
    revision: str
    content: Mapping[str, Any] | None = None
    problem: str = ""


@dataclass(frozen=True)
class Crowd:
    """Who holds the devices that a pod waits for.

    Attributes:
        nodes: Names of the nodes that would take the pod if they were empty.
        devices: Name of the resource.
        total: How many the nodes have.
        places: How many more such pods the nodes have devices for, whatever else they lack.
        holders: How many each holds, by name, the greediest first.
    """

    nodes: tuple[str, ...]
    devices: str
    total: int
    places: int
    holders: tuple[tuple[str, int], ...]

    @property
    def free(self) -> int:
        """How many nobody holds."""
        return self.total - sum(number for _, number in self.holders)


@dataclass(frozen=True)
class Observed:
    """Everything that was observed for one resource.

    Attributes:
        pods: Its pods that are not on their way out.
        leaving: When those that are will have to be gone.
        crowd: Who holds what a pod waits for, None where nobody looked.
        changed: Whether a new pod template was given to pods that run.
        failed: Pods of replicas that have several whose server has ended, leaving ones too.
        groups: Such replicas whose pods do not start now, because they have failed too often.
        config: The model's config.json, None where it has not been looked for.
        metrics_served_by: Who else serves custom.metrics.k8s.io, empty where the operator may.
        served: Names of the optional kinds that the cluster has, such as PodMonitor.
        beside: Replicas of a second set that take requests, too.
        change: What to say about that set, None where there is none.
        heard: What controllers of others say of its route, by kind.
    """

    deployment: DeploymentView = DeploymentView()
    pods: tuple[PodView, ...] = ()
    nodes: tuple[NodeView, ...] = field(default=(), repr=False)
    config: ConfigFile | None = None
    autoscaler: AutoscalerView | None = None
    metrics_served_by: str = ""
    served: frozenset[str] = frozenset()
    leaving: tuple[datetime, ...] = ()
    crowd: Crowd | None = None
    changed: bool = False
    failed: tuple[PodView, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    beside: int = 0
    change: RolloutStatus | None = None
    heard: RouteConditions = field(default_factory=dict)

    @property
    def replicas(self) -> tuple[PodView, ...]:
        """Its pods, those of one replica as one."""
        return replicas(self.pods)

    @property
    def ready(self) -> int:
        """Replicas that take requests; they know it a moment before their Deployment does."""
        return sum(replica.ready for replica in self.replicas) + self.beside
