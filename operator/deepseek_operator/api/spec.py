"""`spec`: what a person wants."""

from pydantic import Field

from deepseek_operator.api.accelerator import Accelerator
from deepseek_operator.api.engine import Engine
from deepseek_operator.api.model import Model
from deepseek_operator.api.observability import Observability
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.section import Section
from deepseek_operator.api.security import Security


class Spec(Section):
    """What is to be served, on what, how often. Only model.id has no default."""

    model: Model = Field(description="Which model is served and where its weights come from.")
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Copies of the model that share the load. 0 stops serving and frees the GPUs.",
    )
    accelerator: Accelerator | None = Field(
        default=None, description="GPUs of one replica. Absent: the CPU."
    )
    engine: Engine = Field(
        default=Engine(), description="The program that serves the model. Default: the bundled one."
    )
    security: Security = Field(default=Security(), description="Who may reach the model.")
    observability: Observability = Field(
        default=Observability(), description="What is made for those who watch the model."
    )
    pod_template: PodTemplate = Field(
        default=PodTemplate(),
        description="Overrides for the pods, merged over what the operator makes.",
    )
