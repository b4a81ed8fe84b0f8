"""`spec`: what a person wants."""

from pydantic import Field

from deepseek_operator.api.accelerator import Accelerator
from deepseek_operator.api.engine import Engine
from deepseek_operator.api.model import Model
from deepseek_operator.api.observability import Observability
from deepseek_operator.api.parallelism import Parallelism
from deepseek_operator.api.pod_template import PodTemplate
from deepseek_operator.api.rollout import Rollout
from deepseek_operator.api.routing import Routing
from deepseek_operator.api.scaling import Scaling
from deepseek_operator.api.scheduling import Scheduling
from deepseek_operator.api.section import Section, rule, validated
from deepseek_operator.api.security import Security

# In CEL, the GPUs that spec.parallelism adds up to.
GPUS = (
    "self.parallelism.tensor * (has(self.parallelism.pipeline) ? self.parallelism.pipeline : 1)"
    " * (has(self.parallelism.data) ? self.parallelism.data : 1)"
)


class Spec(Section):
    """What is to be served, on what, how often. Only model.id has no default."""

    # The API server itself writes replicas: 1 where there is none, so 1 is as good as absent.
    model_config = validated(
        rule(
            "!has(self.scaling) || self.replicas == 1",
            "write replicas or scaling, never both: remove replicas (or set it to 1) to have"
            " scaling decide, or remove scaling",
        ),
        rule(
            "!has(self.parallelism) || !has(self.accelerator) || !has(self.accelerator.count)"
            f" || !has(self.parallelism.tensor) || self.accelerator.count == {GPUS}",
            "accelerator.count must be tensor x pipeline x data of parallelism, or be left out",
        ),
    )

    model: Model = Field(description="Which model is served and where its weights come from.")
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description=(
            "Copies of the model that share the load. 0 stops serving and frees the GPUs. "
            "With scaling this must stay 1, the default, and has no meaning."
        ),
    )
    scaling: Scaling | None = Field(
        default=None,
        description="How many replicas there are, by load. Absent: what replicas says.",
    )
    accelerator: Accelerator | None = Field(
        default=None, description="GPUs of one replica. Absent: the CPU."
    )
    parallelism: Parallelism | None = Field(
        default=None,
        description=(
            "How the GPUs of one replica share its model, where one node is not enough. "
            "Absent: all of them share every layer, on one node."
        ),
    )
    scheduling: Scheduling | None = Field(
        default=None,
        description="Who decides when replicas get their nodes. Absent: the scheduler alone.",
    )
    engine: Engine = Field(
        default=Engine(), description="The program that serves the model. Default: the bundled one."
    )
    rollout: Rollout = Field(
        default=Rollout(), description="How running replicas are replaced when the spec changes."
    )
    routing: Routing | None = Field(
        default=None,
        description=(
            "How the model is reached from outside the cluster. Absent: by its Service alone."
        ),
    )
    security: Security = Field(default=Security(), description="Who may reach the model.")
    observability: Observability = Field(
        default=Observability(), description="What is made for those who watch the model."
    )
    pod_template: PodTemplate = Field(
        default=PodTemplate(),
        description="Overrides for the pods, merged over what the operator makes.",
    )
