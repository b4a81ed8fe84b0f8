"""`spec.accelerator`: kind and number of GPUs per replica."""

from typing import Annotated

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated

ProfileName = Annotated[str, Field(min_length=1, max_length=63)]


class Accelerator(Section):
    """Kind and number of GPUs per replica. Absent: the replica runs on the CPU."""

    model_config = validated(
        rule(
            "has(self.profile) || has(self.profiles) || has(self.count)",
            "accelerator needs profile (a kind of GPU, such as nvidia-h200), profiles (several"
            " acceptable kinds) or count (GPUs per replica); leave accelerator out to run on the CPU",
        ),
        rule(
            "!(has(self.profile) && has(self.profiles))",
            "accelerator.profile and accelerator.profiles exclude each other: write the profile as"
            " the first of profiles, or remove profiles",
        ),
    )

    profile: ProfileName | None = Field(
        default=None,
        description=(
            "Kind of GPU by its name in the catalogue, such as nvidia-h200. Default: any NVIDIA GPU."
        ),
    )
    profiles: list[ProfileName] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description=(
            "Acceptable kinds of GPU in order of preference. The first one that the model fits on "
            "and the cluster has nodes with is chosen, and kept as long as there are such nodes."
        ),
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description=(
            "Number of GPUs per replica, over which the model is split. They are on one node, "
            "unless parallelism is set. "
            "Default: the fewest that the model fits on, 1 if its size is not known."
        ),
    )

    @property
    def kinds(self) -> list[str]:
        """The acceptable profiles in order of preference; empty if any NVIDIA GPU is acceptable."""
        return [self.profile] if self.profile else (self.profiles or [])
