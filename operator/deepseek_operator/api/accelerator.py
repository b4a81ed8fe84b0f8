"""`spec.accelerator`: which GPUs, and how many for one replica."""

from pydantic import Field

from deepseek_operator.api.section import Section, rule, validated


class Accelerator(Section):
    """Which GPUs a replica runs on, and how many of them. Absent: the CPU."""

    model_config = validated(
        rule(
            "has(self.profile) || has(self.count)",
            "accelerator needs profile (a kind of GPU, such as nvidia-h200), count (how many),"
            " or both; leave accelerator out to run on the CPU",
        )
    )

    profile: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        description="Kind of GPU from the catalogue, such as nvidia-h200. Default: any NVIDIA GPU.",
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="GPUs of one replica, all on one node. Default: 1.",
    )
