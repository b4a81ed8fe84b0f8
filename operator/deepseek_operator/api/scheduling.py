"""`spec.scheduling`: who decides when replicas get their nodes."""

from pydantic import Field

from deepseek_operator.api.section import Section


class Scheduling(Section):
    """Who decides when replicas get their nodes. Absent: the scheduler alone, pod by pod."""

    queue: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description=(
            "Name of a LocalQueue of Kueue in the same namespace. A replica starts when the queue has "
            "room for all of its pods; until then none of them takes a GPU. Kueue must be installed, "
            "with its integrations for Deployments and LeaderWorkerSets, and does not let the queue of "
            "replicas that run be changed."
        ),
    )
