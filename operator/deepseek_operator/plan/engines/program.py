"""Interface of all engines: their input, and their containers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deepseek_operator.plan.state.split import ALONE, Split

PORT = 8000
MODEL_MOUNT = "/models"
CACHE_MOUNT = "/cache"

# Variables that LeaderWorkerSet sets in each container of a group; Kubernetes expands them in
# arguments (https://lws.sigs.k8s.io/docs/concepts/, as of 2026-11).
LEADER_ADDRESS, WORKER_INDEX = "$(LWS_LEADER_ADDRESS)", "$(LWS_WORKER_INDEX)"
# Rendezvous port of the pods of a group.
MEETING_PORT = 29500


@dataclass(frozen=True)
class Serving:
    """The model to serve, and how.

    Attributes:
        model_id: The repository, or any name if the weights are on a volume.
        model: Source for the engine: a repository of the hub, or a directory in the container.
        served_name: Model name for clients.
        revision: Revision of the repository, None for a directory.
        hub: URL of the hub's mirror, empty for the public hub.
        dtype: Data type of the computation; `auto`: the engine chooses.
        max_context: Context length in tokens, None for the model's own.
        asked_context: Whether the spec sets max_context; otherwise the operator computed it.
        split: The split of the model over GPUs.
        on_gpus: Whether it runs on GPUs.
        drain_seconds: Time for running requests at shutdown.
        start_seconds: Maximum time of a start.
        args: Additional arguments, appended last.
        env: Additional variables, applied last.
    """

    model_id: str
    model: str
    served_name: str
    revision: str | None = None
    hub: str = ""
    dtype: str = "auto"
    max_context: int | None = None
    asked_context: bool = False
    split: Split = ALONE
    on_gpus: bool = True
    drain_seconds: int = 60
    start_seconds: int = 900
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """An HTTP probe of the kubelet.

    Attributes:
        path: Path of the request.
        period: Seconds between requests.
        failures: Failure threshold.
        timeout: Timeout in seconds, None for Kubernetes' default.
    """

    path: str
    period: int
    failures: int
    timeout: int | None = None


@dataclass(frozen=True)
class Probes:
    """All probes of a container."""

    startup: Probe
    liveness: Probe
    readiness: Probe


@dataclass(frozen=True)
class Program:
    """The program of a container.

    Attributes:
        command: Replaces the image's entrypoint; empty: the image's own.
        args: Arguments.
        env: Environment variables.
        probes: Probes, None if it has no HTTP server.
        reads_config: Whether it reads the config file that the operator writes.
    """

    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    probes: Probes | None
    reads_config: bool = False


@dataclass(frozen=True)
class Programs:
    """The programs in the pods of a replica.

    Attributes:
        leader: In the pod that serves requests, the only one of a single-pod replica.
        worker: In each of the other pods, None if there are none.
    """

    leader: Program
    worker: Program | None = None
