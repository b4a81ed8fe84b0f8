"""What was observed in the cluster, cut down to what decisions need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepseek_operator.catalog.accelerators import accelerators

SERVER = "server"
# Exit codes of the model server whose termination message is a sentence for the user.
EXIT_MODEL_UNUSABLE = 3
EXIT_SOURCE_UNREACHABLE = 4

Object = Mapping[str, Any]


@dataclass(frozen=True)
class PodView:
    """A pod of a resource.

    Attributes:
        unscheduled: The scheduler's words where it found no node, else None.
        waiting: Why the server's container does not run (reason, message), else None.
        exited: How it last ended (exit code, reason, termination message), else None.
        mount_failure: The kubelet's words where a volume could not be mounted, else None.
    """

    name: str
    ready: bool = False
    running: bool = False
    scheduled: bool = False
    unscheduled: str | None = None
    waiting: tuple[str, str] | None = None
    exited: tuple[int, str, str] | None = None
    mount_failure: str | None = None

    @classmethod
    def of(cls, pod: Object, mount_failure: str | None = None) -> "PodView":
        """The view of a Pod object."""
        status = pod.get("status", {})
        conditions = {item["type"]: item for item in status.get("conditions", [])}
        scheduled = conditions.get("PodScheduled", {})
        server: Object = next(
            (item for item in status.get("containerStatuses", []) if item["name"] == SERVER), {}
        )
        state = server.get("state", {})
        waiting = state.get("waiting")
        ended = state.get("terminated") or server.get("lastState", {}).get("terminated")
        return cls(
            name=pod["metadata"]["name"],
            ready=conditions.get("Ready", {}).get("status") == "True",
            running="running" in state,
            scheduled=scheduled.get("status") == "True",
            unscheduled=scheduled.get("message", "")
            if scheduled.get("status") == "False"
            else None,
            waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else None,
            exited=_exit(ended) if ended else None,
            mount_failure=None if "running" in state else mount_failure,
        )


def _exit(ended: Object) -> tuple[int, str, str]:
    return ended["exitCode"], ended.get("reason", ""), ended.get("message", "").strip()


@dataclass(frozen=True)
class DeploymentView:
    """The Deployment of a resource.

    Attributes:
        wanted: How many replicas its spec asks for, whoever has written that; None: there is none.
        settled: Whether its controller has seen the newest spec.
        failure: Why pods could not be created (quota, admission), else None.
    """

    wanted: int | None = None
    replicas: int = 0
    updated: int = 0
    settled: bool = False
    failure: str | None = None

    @classmethod
    def of(cls, deployment: Object) -> "DeploymentView":
        """The view of a Deployment object."""
        status = deployment.get("status", {})
        failures = [
            item.get("message", "")
            for item in status.get("conditions", [])
            if item["type"] == "ReplicaFailure" and item["status"] == "True"
        ]
        return cls(
            wanted=deployment.get("spec", {}).get("replicas", 0),
            replicas=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            settled=status.get("observedGeneration", 0)
            >= deployment["metadata"].get("generation", 0),
            failure=failures[0] if failures else None,
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
    """A node, as far as its GPUs matter.

    Attributes:
        allocatable: Quantities by resource, of those that the catalogue knows.
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Object) -> "NodeView":
        """The view of a Node object."""
        known, metadata = accelerators().resources, node["metadata"]
        allocatable = node.get("status", {}).get("allocatable", {})
        gpus = {name: count for name, count in allocatable.items() if name in known}
        return cls(metadata["name"], metadata.get("labels", {}), gpus)


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
class Observed:
    """Everything that was observed for one resource.

    Attributes:
        config: The model's config.json, None where it has not been looked for.
        metrics_served_by: Who else serves custom.metrics.k8s.io, empty where the operator may.
        served: Names of the optional kinds that the cluster has, such as PodMonitor.
    """

    deployment: DeploymentView = DeploymentView()
    pods: tuple[PodView, ...] = ()
    nodes: tuple[NodeView, ...] = field(default=(), repr=False)
    config: ConfigFile | None = None
    autoscaler: AutoscalerView | None = None
    metrics_served_by: str = ""
    served: frozenset[str] = frozenset()

    @property
    def ready(self) -> int:
        """Pods that take requests; they know it a moment before their Deployment does."""
        return sum(pod.ready for pod in self.pods)
