"""`spec.observability`: monitoring objects created for the model."""

from pydantic import Field

from deepseek_operator.api.section import Section


class Observability(Section):
    """Monitoring objects created for the model."""

    pod_monitor: bool | None = Field(
        default=None,
        description=(
            "Whether to create a PodMonitor, so that Prometheus scrapes the model's metrics. "
            "Default: true if the cluster has the PodMonitor API of the Prometheus operator."
        ),
    )
