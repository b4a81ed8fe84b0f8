"""`spec.parallelism`: how the GPUs of one replica share its model."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated


class Preflight(Section):
    """What the pods of a replica check of their network before they read the model."""

    policy: Literal["fail", "warn"] = Field(
        default="fail",
        description="fail: a network that is too slow ends the start. warn: it is only told.",
    )
    min_gigabytes_per_second: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description=(
            "Least bandwidth of an all-reduce over all GPUs of the replica, in GB/s. "
            "Default: it is measured and told, whatever it is."
        ),
    )


class Parallelism(Section):
    """How the GPUs of one replica share its model. With it a replica may span several nodes."""

    model_config = validated(
        rule(
            "has(self.tensor) || has(self.pipeline) || has(self.expert) || has(self.data)",
            "parallelism needs tensor (GPUs that share every layer), pipeline (groups of layers),"
            " expert or data; leave parallelism out for a replica on one node",
        ),
        rule(
            "!has(self.expert) || self.expert == 1 || self.expert =="
            " (has(self.tensor) ? self.tensor : 1) * (has(self.data) ? self.data : 1)",
            "parallelism.expert must be 1 or tensor x data: experts are spread over the GPUs of one"
            " group of layers",
        ),
    )

    tensor: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description=(
            "GPUs that share every layer, or on the CPU pods that do. They exchange what they "
            "compute several times for every token, so they belong on one node, or on nodes with a "
            "fast network. Default: as few as the model fits on."
        ),
    )
    pipeline: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Groups of layers, one after the other, each on GPUs of its own. Default: 1.",
    )
    expert: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description=(
            "GPUs over which whole experts are spread, instead of a part of each on every GPU: "
            "1, or tensor x data. Default: 1."
        ),
    )
    data: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description=(
            "Groups of GPUs of one replica that share nothing but experts. "
            "For independent copies of the model write replicas. Default: 1."
        ),
    )
    exclusive_topology: str | None = Field(
        default=None,
        min_length=1,
        max_length=317,
        description=(
            "Label of nodes, such as a rack or an NVLink domain: the pods of a replica are put on "
            "nodes with one value of it, and no other replica is put there."
        ),
    )

    preflight: Preflight = Field(
        default=Preflight(),
        description="What the pods of a replica check before they read the model.",
    )
    max_restarts: int = Field(
        default=5,
        ge=0,
        le=100,
        description=(
            "Failures of one replica within an hour after which its pods start again, each time "
            "after a longer pause; with one more they wait for a changed spec."
        ),
    )

    @property
    def others(self) -> int:
        """GPUs for each one that shares every layer."""
        return (self.pipeline or 1) * (self.data or 1)
