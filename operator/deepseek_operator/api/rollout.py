"""`spec.rollout`: how running replicas are replaced when the spec changes."""

from typing import Literal

from pydantic import Field

from deepseek_operator.api.section import Section

DRAIN_SECONDS = 60


class Rollout(Section):
    """How running replicas are replaced when the spec changes."""

    when_no_gpu_is_free: Literal["inPlace", "wait"] = Field(
        default="inPlace",
        description=(
            "What to do where no fitting GPU is free for one more replica. inPlace: stop one replica "
            "and start its successor on its GPUs, so one replica fewer serves meanwhile (of one: "
            "none). wait: keep all serving until a GPU becomes free or a node is added."
        ),
    )
    drain_seconds: int = Field(
        default=DRAIN_SECONDS,
        ge=0,
        le=86_400,
        description=(
            "Seconds that running requests get to end when a replica is stopped; what still runs "
            "then gets an error. A change replaces the replicas."
        ),
    )
