"""`spec.podTemplate`: what a person adds to the pods that the operator makes."""

from typing import Annotated, Any

from pydantic import Field

from deepseek_operator.api.section import Section

LabelValue = Annotated[str, Field(max_length=63)]


class PodMetadata(Section):
    """Labels and annotations of the pods."""

    labels: dict[str, LabelValue] = Field(default={}, description="Further labels of the pods.")
    annotations: dict[str, str] = Field(default={}, description="Further annotations of the pods.")


class PodTemplate(Section):
    """Overrides for the pods, merged over what the operator makes of the rest of the spec."""

    metadata: PodMetadata = Field(
        default=PodMetadata(), description="Further labels and annotations of the pods."
    )
    spec: dict[str, Any] = Field(
        default={},
        description=(
            "A Kubernetes PodSpec, merged strategically: containers, volumes and env by name, "
            "mounts by mountPath, tolerations appended. The model server's container is `server`."
        ),
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
