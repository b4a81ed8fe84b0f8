"""`spec.observability`: what is made for those who watch the model."""

from pydantic import Field

from deepseek_operator.api.section import Section


class Observability(Section):
    """What is made for those who watch the model."""

    pod_monitor: bool | None = Field(
        default=None,
        description=(
            "Whether a PodMonitor has a Prometheus scrape the model's metrics. "
            "Default: where the cluster knows PodMonitor, the API of the Prometheus operator."
        ),
    )
