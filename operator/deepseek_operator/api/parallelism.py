"""`spec.parallelism`: distribution of a model over the GPUs of one replica."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated


class Preflight(Section):
    """Network check between the pods of a replica, before they read the weights."""

    policy: Literal["fail", "warn"] = Field(
        default="fail",
        description=(
            "Reaction to a network slower than minGigabytesPerSecond. fail: the start is aborted. "
            "warn: the replica serves, and condition GangReady reports the measured bandwidth."
        ),
    )
    min_gigabytes_per_second: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description=(
            "Minimum bandwidth of an all-reduce over all GPUs of the replica, in GB/s. "
            "Default: none, the bandwidth is measured and reported only."
        ),
    )


class Parallelism(Section):
    """Distribution of a model over the GPUs of one replica, which may span several nodes."""

    model_config = validated(
        rule(
            "has(self.tensor) || has(self.pipeline) || has(self.expert) || has(self.data)",
            "parallelism needs at least one of tensor, pipeline, expert and data; leave parallelism"
            " out for a replica on one node",
        ),
        rule(
            "!has(self.expert) || self.expert == 1 || self.expert =="
            " (has(self.tensor) ? self.tensor : 1) * (has(self.data) ? self.data : 1)",
            "parallelism.expert must be 1 or tensor x data, the GPUs of one pipeline stage",
        ),
    )

    tensor: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description=(
            "Tensor parallelism: number of GPUs (on the CPU: pods) that every layer is split over. "
            "They exchange activations several times per token, so they need one node or a fast "
            "network between nodes. Default: the fewest that the model fits on."
        ),
    )
    pipeline: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description=(
            "Pipeline parallelism: number of stages, each with consecutive layers on its own GPUs. "
            "Default: 1."
        ),
    )
    expert: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description=(
            "Expert parallelism: number of GPUs that whole experts are distributed over, either 1 "
            "or tensor x data. Default: 1, every expert is split over the tensor parallel GPUs."
        ),
    )
    data: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description=(
            "Data parallelism inside a replica: number of groups of GPUs that share only experts. "
            "For independent copies of the model use spec.replicas. Default: 1."
        ),
    )
    exclusive_topology: str | None = Field(
        default=None,
        min_length=1,
        max_length=317,
        description=(
            "Node label that names a topology domain, such as a rack or an NVLink domain. All pods "
            "of a replica are placed in one domain, exclusively for that replica. Default: none."
        ),
    )

    preflight: Preflight = Field(
        default=Preflight(),
        description="Network check between the pods of a replica, before they read the weights.",
    )
    max_restarts: int = Field(
        default=5,
        ge=0,
        le=100,
        description=(
            "Maximum restarts of one replica of several pods within an hour, with exponential backoff. "
            "After one more failure it stays stopped until the spec changes."
        ),
    )

    @property
    def others(self) -> int:
        """Pipeline stages times data parallel groups: GPUs of a replica per tensor parallel rank."""
        return (self.pipeline or 1) * (self.data or 1)
