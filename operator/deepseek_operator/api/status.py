"""`status`: observed state of a resource, written by the operator."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section


class Condition(Section):
    """Condition: one aspect of the observed state, in the form of Kubernetes' API conventions."""

    type: str = Field(
        description=(
            "Type of the condition: Accepted, Scheduled, ModelReady, Available, Progressing, Ready; "
            "Autoscaling with scaling, GangReady with several pods per replica, RoutesReady with "
            "routing, TrustReady with security.mtls; Reconciling and Stalled for tools that use "
            "kstatus."
        )
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Status of the condition.")
    reason: str = Field(description="Machine-readable reason for the status, in CamelCase.")
    message: str = Field(
        description="Human-readable details: state, cause and, if action is required, what to do."
    )
    observed_generation: int = Field(
        description="Generation of the spec that the condition refers to.",
        json_schema_extra={"format": "int64"},
    )
    last_transition_time: str = Field(
        description="Time at which `status` of the condition last changed.",
        json_schema_extra={"format": "date-time"},
    )


class ResolvedModel(Section):
    """Values that the operator chose for the fields left to it; unknown ones are absent."""

    served_name: str = Field(
        description="Name of the model in the API: the field `model` of requests."
    )
    source: str = Field(description="Human-readable source of the weights.")
    accelerator: str = Field(
        description="Hardware of one replica: CPU, or number and kind of its GPUs."
    )
    image: str = Field(description="Image of the model server.")
    profile: str | None = Field(
        default=None, description="Chosen kind of GPU. Absent if the spec names none."
    )
    tensor_parallel: int | None = Field(
        default=None,
        description="Tensor parallel size: GPUs (on the CPU: pods) that every layer is split over.",
    )
    pipeline_parallel: int | None = Field(
        default=None, description="Number of pipeline stages. Absent if there is one."
    )
    pods: int | None = Field(
        default=None,
        description="Pods per replica. Absent if the model is not split over several GPUs.",
    )
    dtype: str | None = Field(
        default=None, description="Data type of the computation. Absent if it is not known."
    )
    max_context: int | None = Field(
        default=None,
        description=(
            "Maximum context length, prompt and answer together, in tokens. Absent if it is not known."
        ),
    )
    weight_bytes_per_gpu: int | None = Field(
        default=None,
        description="Memory for the weights on each GPU, in bytes.",
        json_schema_extra={"format": "int64"},
    )
    cache_bytes_per_gpu: int | None = Field(
        default=None,
        description="Memory for the KV cache on each GPU, in bytes.",
        json_schema_extra={"format": "int64"},
    )
    concurrency: str | None = Field(
        default=None,
        description="Human-readable number of requests that a replica runs concurrently.",
    )


class AnalysisStatus(Section):
    """Comparison of the candidate with the stable pods."""

    verdict: Literal["pass", "fail", "inconclusive"] = Field(
        description=(
            "Result of the comparison. pass: the candidate is no worse. fail: it is significantly "
            "worse. inconclusive: more requests are needed."
        )
    )
    message: str = Field(description="Human-readable figures of the comparison.")
    requests: int = Field(description="Number of the candidate's requests compared in this step.")


class RolloutStatus(Section):
    """State of the rollout in progress."""

    strategy: Literal["auto", "blueGreen", "canary"] = Field(
        default="auto", description="Strategy of the rollout in progress."
    )
    mode: Literal["surge", "inPlace"] | None = Field(
        default=None,
        description=(
            "Mode of strategy auto. surge: a successor starts before a replica is stopped. "
            "inPlace: a replica is stopped before its successor starts."
        ),
    )
    revision: str | None = Field(
        default=None,
        description="Revision of the candidate: the value for rollout.promote and rollout.abort.",
    )
    stable_revision: str | None = Field(
        default=None, description="Revision of the stable pods, which the candidate would replace."
    )
    step: int | None = Field(default=None, description="Current step of a canary, from 1.")
    steps: int | None = Field(default=None, description="Number of steps of a canary.")
    weight: int | None = Field(
        default=None, description="Current share of requests sent to the candidate, in percent."
    )
    analysis: AnalysisStatus | None = Field(
        default=None,
        description=(
            "Comparison of a canary with the stable pods. Absent until there is something to compare."
        ),
    )
    reason: str = Field(
        description="Machine-readable reason for the state of the rollout, in CamelCase."
    )
    message: str = Field(
        description="Human-readable state of the rollout, with its cause and what it waits for."
    )
    updated_replicas: int = Field(
        description="Number of existing replicas made from the newest spec."
    )
    start_time: str = Field(
        description="Time at which the operator first observed the rollout.",
        json_schema_extra={"format": "date-time"},
    )


class GroupFailure(Section):
    """Root cause of the failure of a replica of several pods."""

    time: str = Field(description="Time of the failure.", json_schema_extra={"format": "date-time"})
    pod: str = Field(description="Name of the pod that failed first.")
    exit_code: int = Field(description="Exit code of the model server in that pod.")
    message: str = Field(description="Termination message of that pod.")


class GroupStatus(Section):
    """Failures of one replica of several pods since the last change of the spec."""

    index: int = Field(description="Index of the replica, from 0.")
    restarts: int = Field(description="Number of failures of the replica within an hour.")
    failures: list[str] = Field(description="Times of the failures, in ascending order.")
    cause: GroupFailure = Field(description="Root cause of the last failure.")
    held_until: str | None = Field(
        default=None,
        description="Time at which the pods start again. Absent unless they wait in backoff.",
        json_schema_extra={"format": "date-time"},
    )
    stopped: bool = Field(
        default=False,
        description="True if maxRestarts is exceeded: the pods start again when the spec changes.",
    )
    generation: int = Field(
        description="Generation of the spec that the replica failed with.",
        json_schema_extra={"format": "int64"},
    )


class Status(Section):
    """Observed state of the resource, written by the operator."""

    phase: str | None = Field(
        default=None,
        description="Human-readable state in one sentence. Programs should read the conditions.",
    )
    observed_generation: int | None = Field(
        default=None,
        description=(
            "Generation of the spec that this status refers to; -1 until the first reconciliation."
        ),
        json_schema_extra={"format": "int64"},
    )
    endpoint: str | None = Field(
        default=None,
        description=(
            "Base URL of the model: that of the route if there is one, else of the Service inside the "
            "cluster. The API is under /v1."
        ),
    )
    desired_replicas: int | None = Field(
        default=None, description="Number of replicas requested by the spec or the autoscaler."
    )
    replicas: int = Field(default=0, description="Number of existing replicas, ready or not.")
    ready_replicas: int = Field(default=0, description="Number of replicas that accept requests.")
    selector: str | None = Field(
        default=None, description="Label selector of the pods, for the scale subresource."
    )
    resolved: ResolvedModel | None = Field(
        default=None, description="Values that the operator chose for the fields left to it."
    )
    revision: str | None = Field(
        default=None,
        description="Revision of the pods that receive the requests. Absent where strategy is auto.",
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="Rollout in progress. Absent if there is none."
    )
    groups: list[GroupStatus] = Field(
        default=[],
        description="Replicas of several pods that failed since the last change of the spec.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["index"],
        },
    )
    conditions: list[Condition] = Field(
        default=[],
        description="Conditions: the observed state by aspect.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
