"""`spec.accelerator`: which GPUs, and how many for one replica."""

from typing import Annotated

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated

ProfileName = Annotated[str, Field(min_length=1, max_length=63)]


class Accelerator(Section):
    """Which GPUs a replica runs on, and how many of them. Absent: the CPU."""

    model_config = validated(
        rule(
            "has(self.profile) || has(self.profiles) || has(self.count)",
            "accelerator needs profile (a kind of GPU, such as nvidia-h200), profiles (several"
            " acceptable ones), count (how many), or a kind and count;"
            " leave accelerator out to run on the CPU",
        ),
        rule(
            "!(has(self.profile) && has(self.profiles))",
            "accelerator takes profile (one kind of GPU) or profiles (several, the best first),"
            " not both: move profile to the front of profiles",
        ),
    )

    profile: ProfileName | None = Field(
        default=None,
        description="Kind of GPU from the catalogue, such as nvidia-h200. Default: any NVIDIA GPU.",
    )
    profiles: list[ProfileName] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description=(
            "Acceptable kinds of GPU, the best first: the first on which the model fits and of "
            "which the cluster has nodes is taken, and kept as long as it has them."
        ),
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description=(
            "GPUs of one replica; the model is split over them. They are on one node unless "
            "parallelism says how they are shared. "
            "Default: as few as the model fits on, 1 where its size is not known."
        ),
    )

    @property
    def kinds(self) -> list[str]:
        """The acceptable profiles, the best first; empty where any NVIDIA GPU is."""
        return [self.profile] if self.profile else (self.profiles or [])
