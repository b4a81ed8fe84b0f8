"""`spec`: the desired state."""

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

# CEL expression for the GPUs of one replica according to spec.parallelism.
GPUS = (
    "self.parallelism.tensor * (has(self.parallelism.pipeline) ? self.parallelism.pipeline : 1)"
    " * (has(self.parallelism.data) ? self.parallelism.data : 1)"
)


class Spec(Section):
    """Desired state: the model, its hardware and its number of replicas. Only model.id is required."""

    # The API server fills in replicas: 1 where it is absent, so the rule can't tell 1 from absent.
    model_config = validated(
        rule(
            "!has(self.scaling) || self.replicas == 1",
            "replicas and scaling exclude each other: remove replicas (or set it to 1) to scale by"
            " load, or remove scaling",
        ),
        rule(
            "!has(self.parallelism) || !has(self.accelerator) || !has(self.accelerator.count)"
            f" || !has(self.parallelism.tensor) || self.accelerator.count == {GPUS}",
            "accelerator.count must equal parallelism.tensor x pipeline x data: correct it, or leave"
            " it out",
        ),
    )

    model: Model = Field(description="Model to serve and source of its weights.")
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description=(
            "Number of replicas of the model, which share the requests. 0 stops serving and frees "
            "the GPUs. Ignored with scaling, where it must be absent or 1."
        ),
    )
    scaling: Scaling | None = Field(
        default=None,
        description="Autoscaling of the number of replicas by load. Default: fixed at replicas.",
    )
    accelerator: Accelerator | None = Field(
        default=None,
        description="Kind and number of GPUs per replica. Default: none, runs on the CPU.",
    )
    parallelism: Parallelism | None = Field(
        default=None,
        description=(
            "Distribution of the model over the GPUs of one replica, which may span several nodes. "
            "Default: tensor parallelism over all GPUs of the replica, on one node."
        ),
    )
    scheduling: Scheduling | None = Field(
        default=None,
        description=(
            "Queueing of replicas until all of their pods can be placed. "
            "Default: none, the scheduler places each pod by itself."
        ),
    )
    engine: Engine = Field(
        default=Engine(),
        description="Inference engine that serves the model. Default: the bundled model server.",
    )
    rollout: Rollout = Field(
        default=Rollout(), description="Replacement of running replicas when the spec changes."
    )
    routing: Routing | None = Field(
        default=None,
        description=(
            "Route to the model from outside the cluster. "
            "Default: none, only the Service inside the cluster."
        ),
    )
    security: Security = Field(
        default=Security(),
        description=(
            "Network access and authentication. "
            "Default: pods of the resource's namespace and the gateway of routing have access, "
            "without authentication."
        ),
    )
    observability: Observability = Field(
        default=Observability(), description="Monitoring objects created for the model."
    )
    pod_template: PodTemplate = Field(
        default=PodTemplate(),
        description="Overrides merged into the pods that the operator generates.",
    )
