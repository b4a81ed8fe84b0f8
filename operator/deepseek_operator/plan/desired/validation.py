"""What the API server can't see: a chain of checks that each refuse a spec with a reason and a way out."""

from collections.abc import Callable

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.desired.pod_template import conflict
from deepseek_operator.plan.engines.limits import reserved, unsupported
from deepseek_operator.plan.state.refusal import API_MISSING, Refusal
from deepseek_operator.plan.traffic.authorization import AUTHORIZATION_POLICY

UNKNOWN_MODEL = "UnknownModel"
UNKNOWN_PROFILE = "UnknownProfile"
POD_TEMPLATE_CONFLICT = "PodTemplateConflict"
ENGINE_UNSUPPORTED = "EngineUnsupported"
ENGINE_ARGS_CONFLICT = "EngineArgsConflict"


def model_is_published(spec: Spec) -> Refusal | None:
    """DeepSeek's repositories are known: any other name of theirs is a mistake.

    A repository newer than the catalogue passes by naming its source.
    """
    model = spec.model
    if model.source is not None or models().knows(model.id):
        return None
    if not models().belongs(model.id) and models().meant(model.id) is None:
        return None
    near = models().nearest(model.id)
    hint = f"Did you mean {_either(near)}? " if near else ""
    return Refusal(
        UNKNOWN_MODEL,
        f"DeepSeek has not published {model.id}, as of {models().as_of}. {hint}"
        "If it is newer than this operator, add `source: {huggingFace: {}}` below spec.model.",
    )


def profile_is_known(spec: Spec) -> Refusal | None:
    """A profile must be in the catalogue, else nobody knows which nodes fit."""
    named = spec.accelerator.kinds if spec.accelerator else []
    unknown = next((name for name in named if name not in accelerators().profiles), None)
    if unknown is None:
        return None
    return Refusal(
        UNKNOWN_PROFILE,
        f"accelerator.profile {unknown} is not in the catalogue. "
        f"Known and similar: {', '.join(accelerators().nearest(unknown))}. For any NVIDIA GPU "
        "write accelerator.count alone and choose nodes with podTemplate.spec.nodeSelector; the "
        "chart's value catalog.accelerators adds a kind.",
    )


def pod_template_fits(spec: Spec) -> Refusal | None:
    """What the operator needs of its pods is not for others to change."""
    said = conflict(spec.pod_template)
    return Refusal(POD_TEMPLATE_CONFLICT, said) if said else None


def engine_can(spec: Spec) -> Refusal | None:
    """An engine must be able to serve the model on what there is."""
    said = unsupported(spec)
    return Refusal(ENGINE_UNSUPPORTED, said) if said else None


def engine_args_are_free(spec: Spec) -> Refusal | None:
    """An argument that contradicts what the operator sets would break what depends on it."""
    said = reserved(spec)
    return Refusal(ENGINE_ARGS_CONFLICT, said) if said else None


CHAIN: tuple[Callable[[Spec], Refusal | None], ...] = (
    model_is_published,
    profile_is_known,
    engine_can,
    engine_args_are_free,
    pod_template_fits,
)


# Fields that need an API which not every cluster has: the kind, the field, whether it is asked for.
NEEDED_APIS: tuple[tuple[str, str, Callable[[Spec], bool]], ...] = (
    ("PodMonitor", "observability.podMonitor", lambda spec: spec.observability.pod_monitor is True),
    (
        "ScaledObject",
        "scaling.metrics: keda",
        lambda spec: spec.scaling is not None and spec.scaling.metrics == "keda",
    ),
    # Without a mesh nobody would check these, so everybody would be let in.
    (AUTHORIZATION_POLICY, "security.jwt", lambda spec: spec.security.jwt is not None),
    (
        AUTHORIZATION_POLICY,
        "security.allowFrom[].serviceAccounts",
        lambda spec: any(peer.service_accounts for peer in spec.security.allow_from),
    ),
    ("LocalQueue", "scheduling.queue", lambda spec: spec.scheduling is not None),
)


def check(spec: Spec, served: frozenset[str]) -> Refusal | None:
    """The first refusal of the chain, or None where the spec can be carried out.

    Args:
        spec: What is asked for.
        served: Names of the optional kinds that the cluster has.
    """
    for step in CHAIN:
        if refusal := step(spec):
            return refusal
    return apis_are_there(spec, served)


def apis_are_there(spec: Spec, served: frozenset[str]) -> Refusal | None:
    """What is asked for by name must be there."""
    for kind, field, asked in NEEDED_APIS:
        if asked(spec) and kind not in served:
            return Refusal(
                API_MISSING,
                f"{field} needs the kind {kind}, which this cluster does not have. Install it "
                f"({install_commands()[kind]}), or leave {field} out.",
            )
    return None


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
