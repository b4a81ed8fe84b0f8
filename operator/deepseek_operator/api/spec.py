"""`spec`: what a person wants."""

from pydantic import Field

from deepseek_operator.api.accelerator import Accelerator
from deepseek_operator.api.engine import Engine
from deepseek_operator.api.model import Model
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.rollout import Rollout
from deepseek_operator.api.section import Section


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
    rollout: Rollout = Field(
        default=Rollout(), description="How running replicas are replaced when the spec changes."
    )
    pod_template: PodTemplate = Field(
        default=PodTemplate(),
        description="Overrides for the pods, merged over what the operator makes.",
    )
