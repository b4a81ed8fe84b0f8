"""`status`: what the operator says about a resource."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section


class Condition(Section):
    """One aspect of the state, in the form that Kubernetes tools understand."""

    type: str = Field(
        description=(
            "Accepted, Scheduled, ModelReady, Available, Progressing, Ready, with scaling "
            "Autoscaling, with several pods for a replica GangReady, with routing RoutesReady, "
            "with security.mtls TrustReady; "
            "Reconciling and Stalled for tools that know no others."
        )
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, as one CamelCase word for programs.")
    message: str = Field(description="Why, in words for people, with what to do.")
    observed_generation: int = Field(
        description="Generation of the spec that this was said about.",
        json_schema_extra={"format": "int64"},
    )
    last_transition_time: str = Field(
        description="When `status` of this condition last changed.",
        json_schema_extra={"format": "date-time"},
    )


class ResolvedModel(Section):
    """What the operator made of the defaults; what is not known is left out."""

    served_name: str = Field(description="What clients put into the field `model`.")
    source: str = Field(description="Where the weights come from, in words.")
    accelerator: str = Field(
        description="What one replica runs on: CPU, or GPUs by number and kind."
    )
    image: str = Field(description="Image of the model server.")
    profile: str | None = Field(
        default=None, description="Kind of GPU that was chosen, where the spec names kinds."
    )
    tensor_parallel: int | None = Field(
        default=None, description="GPUs, or on the CPU pods, that share every layer."
    )
    pipeline_parallel: int | None = Field(
        default=None, description="Groups of layers, where there are several."
    )
    pods: int | None = Field(
        default=None, description="Pods of one replica, where several GPUs share it."
    )
    dtype: str | None = Field(
        default=None, description="Number format of the computation, where it is known."
    )
    max_context: int | None = Field(
        default=None,
        description="Most tokens of prompt and answer together that fit, where that is known.",
    )
    weight_bytes_per_gpu: int | None = Field(
        default=None,
        description="Memory that the weights take on each GPU, in bytes.",
        json_schema_extra={"format": "int64"},
    )
    cache_bytes_per_gpu: int | None = Field(
        default=None,
        description="Memory that each GPU has for the caches of requests, in bytes.",
        json_schema_extra={"format": "int64"},
    )
    concurrency: str | None = Field(
        default=None, description="How many requests run at once, in words."
    )


class AnalysisStatus(Section):
    """How the new set compares with the stable one."""

    verdict: Literal["pass", "fail", "inconclusive"] = Field(
        description="pass: no worse. fail: worse, and not by chance. inconclusive: not known yet."
    )
    message: str = Field(description="The figures, in words.")
    requests: int = Field(description="Requests of the new set that were compared in this step.")


class RolloutStatus(Section):
    """How far the replacement of replicas is."""

    strategy: Literal["auto", "blueGreen", "canary"] = Field(
        default="auto", description="How it is done."
    )
    mode: Literal["surge", "inPlace"] | None = Field(
        default=None,
        description=(
            "Of auto. surge: a successor starts before a replica is stopped. inPlace: after that."
        ),
    )
    revision: str | None = Field(
        default=None, description="Revision of the new set, as rollout.promote and abort name it."
    )
    stable_revision: str | None = Field(
        default=None, description="Revision of the set that serves until then."
    )
    step: int | None = Field(default=None, description="Step of a canary, from 1.")
    steps: int | None = Field(default=None, description="How many steps it has.")
    weight: int | None = Field(
        default=None, description="Share of the requests that the new set gets now, in percent."
    )
    analysis: AnalysisStatus | None = Field(
        default=None,
        description="How a canary compares, absent before there is anything to compare.",
    )
    reason: str = Field(description="Why it goes like that, as one CamelCase word for programs.")
    message: str = Field(description="Why it goes like that, in words for people.")
    updated_replicas: int = Field(description="Replicas that exist of the newest spec.")
    start_time: str = Field(
        description="When it was first seen.", json_schema_extra={"format": "date-time"}
    )


class GroupFailure(Section):
    """The first cause of a failure of a replica of several pods."""

    time: str = Field(description="When it failed.", json_schema_extra={"format": "date-time"})
    pod: str = Field(description="The pod that failed first.")
    exit_code: int = Field(description="How its server ended.")
    message: str = Field(description="Its last words.")


class GroupStatus(Section):
    """A replica of several pods that has failed since the spec was changed."""

    index: int = Field(description="Which of the replicas it is, from 0.")
    restarts: int = Field(description="How often it has failed within an hour.")
    failures: list[str] = Field(description="When, the latest last.")
    cause: GroupFailure = Field(description="Why it failed last.")
    held_until: str | None = Field(
        default=None,
        description="When its pods start again, where they pause.",
        json_schema_extra={"format": "date-time"},
    )
    stopped: bool = Field(
        default=False, description="Whether they do not start again before the spec is changed."
    )
    generation: int = Field(
        description="Generation of the spec that it has failed with.",
        json_schema_extra={"format": "int64"},
    )


class Status(Section):
    """What is going on with the resource."""

    phase: str | None = Field(
        default=None,
        description="The state in one sentence for people; programs read the conditions.",
    )
    observed_generation: int | None = Field(
        default=None,
        description="Generation of the spec that this status is about.",
        json_schema_extra={"format": "int64"},
    )
    endpoint: str | None = Field(
        default=None,
        description=(
            "Base URL, from outside where there is a route, else inside the cluster; the API is "
            "below /v1."
        ),
    )
    desired_replicas: int | None = Field(
        default=None, description="Replicas that were asked for when this was said."
    )
    replicas: int = Field(default=0, description="Replicas that exist, ready or not.")
    ready_replicas: int = Field(default=0, description="Replicas that take requests.")
    selector: str | None = Field(
        default=None, description="Label selector of the pods, for the scale subresource."
    )
    resolved: ResolvedModel | None = Field(
        default=None, description="What the operator made of the defaults."
    )
    revision: str | None = Field(
        default=None,
        description="Revision of the set that has the requests; not said where strategy is auto.",
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="The rollout that is under way, absent where none is."
    )
    groups: list[GroupStatus] = Field(
        default=[],
        description="Replicas of several pods that have failed since the spec was changed.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["index"],
        },
    )
    conditions: list[Condition] = Field(
        default=[],
        description="The state by aspect.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
