"""`spec.podTemplate`: overrides for the pods that the operator generates."""

from typing import Annotated, Any

from pydantic import Field

from deepseek_operator.api.section import Section

LabelValue = Annotated[str, Field(max_length=63)]


class PodMetadata(Section):
    """Labels and annotations added to the pods."""

    labels: dict[str, LabelValue] = Field(
        default={}, description="Labels added to the pods; the operator's labels take precedence."
    )
    annotations: dict[str, str] = Field(default={}, description="Annotations added to the pods.")


class PodTemplate(Section):
    """Overrides merged into the pods that the operator generates from the rest of the spec."""

    metadata: PodMetadata = Field(
        default=PodMetadata(), description="Labels and annotations added to the pods."
    )
    spec: dict[str, Any] = Field(
        default={},
        description=(
            "Kubernetes PodSpec, applied as a strategic merge: containers, volumes and env by name, "
            "mounts by mountPath, tolerations appended. The model server's container is `server`."
        ),
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
