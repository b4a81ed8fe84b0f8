"""`spec.scheduling`: queueing of replicas until all of their pods can be placed."""

from pydantic import Field

from deepseek_operator.api.section import Section


class Scheduling(Section):
    """Queueing by Kueue. Absent: the scheduler places each pod by itself."""

    queue: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description=(
            "Name of a Kueue LocalQueue in the same namespace. A replica is admitted when the queue has "
            "quota for all of its pods; until then none of them holds a GPU. Requires Kueue with its "
            "integrations for Deployments and LeaderWorkerSets; Kueue does not allow changing the queue "
            "of running replicas."
        ),
    )
