"""What an engine is given, and what its containers are: the same for all engines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deepseek_operator.plan.state.split import ALONE, Split

PORT = 8000
MODEL_MOUNT = "/models"
CACHE_MOUNT = "/cache"

# What a LeaderWorkerSet tells each container of a group; Kubernetes puts the values into arguments
# (https://lws.sigs.k8s.io/docs/concepts/, as of 2026-11).
LEADER_ADDRESS, WORKER_INDEX = "$(LWS_LEADER_ADDRESS)", "$(LWS_WORKER_INDEX)"
# Where the pods of a group meet.
MEETING_PORT = 29500


@dataclass(frozen=True)
class Serving:
    """What is to be served, and how.

    Attributes:
        model_id: The repository, or any name where the weights are on a volume.
        model: What the engine loads: a repository of the hub, or a directory of the container.
        served_name: What clients call it.
        revision: Of the repository, None for a directory.
        hub: URL of the hub's mirror, empty for the public hub.
        dtype: The type of the computation; `auto`: the engine chooses.
        max_context: Tokens of the longest request, None for what the model was made for.
        asked_context: Whether a person has asked for that, and not just found out what fits.
        split: Over which GPUs it is spread.
        on_gpus: Whether there are any.
        drain_seconds: How long running requests get at the end.
        start_seconds: How long a start may take.
        args: Further arguments, which come last.
        env: Further variables, which come last.
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
    """A question of the kubelet over HTTP.

    Attributes:
        path: What is asked.
        period: Seconds between questions.
        failures: Wrong answers in a row that count.
        timeout: Seconds for an answer, None for Kubernetes' default.
    """

    path: str
    period: int
    failures: int
    timeout: int | None = None


@dataclass(frozen=True)
class Probes:
    """All that the kubelet asks a container."""

    startup: Probe
    liveness: Probe
    readiness: Probe


@dataclass(frozen=True)
class Program:
    """What runs in a container.

    Attributes:
        command: In place of the image's entrypoint; empty: the image's.
        args: Its arguments.
        env: Its variables.
        probes: What it is asked, None where it does not listen.
        reads_config: Whether it reads the config file that the operator writes.
    """

    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    probes: Probes | None
    reads_config: bool = False


@dataclass(frozen=True)
class Programs:
    """What runs in the pods of a replica.

    Attributes:
        leader: In the one that takes requests, which is the only one where there is one pod.
        worker: In each of the others, None where there are none.
    """

    leader: Program
    worker: Program | None = None
