"""Spec validation beyond the CRD schema: checks that each refuse with a reason and an alternative."""

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
    """Refuse a repository of DeepSeek that the catalogue does not know, most likely a typo.

    A repository newer than the catalogue passes if the spec names its source.
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
    """Refuse a profile that is not in the catalogue: its nodes can't be recognised."""
    named = spec.accelerator.kinds if spec.accelerator else []
    unknown = next((name for name in named if name not in accelerators().profiles), None)
    if unknown is None:
        return None
    return Refusal(
        UNKNOWN_PROFILE,
        f"accelerator.profile {unknown} is not in the catalogue. "
        f"Similar profiles: {', '.join(accelerators().nearest(unknown))}. For other NVIDIA GPUs "
        "set only accelerator.count and select nodes with podTemplate.spec.nodeSelector, or add a "
        "profile with the chart value catalog.accelerators.",
    )


def pod_template_fits(spec: Spec) -> Refusal | None:
    """Refuse a pod template that changes fields which the operator sets."""
    problem = conflict(spec.pod_template)
    return Refusal(POD_TEMPLATE_CONFLICT, problem) if problem else None


def engine_can(spec: Spec) -> Refusal | None:
    """Refuse an engine that can't serve the model on the chosen hardware."""
    problem = unsupported(spec)
    return Refusal(ENGINE_UNSUPPORTED, problem) if problem else None


def engine_args_are_free(spec: Spec) -> Refusal | None:
    """Refuse engine arguments that the operator sets itself."""
    problem = reserved(spec)
    return Refusal(ENGINE_ARGS_CONFLICT, problem) if problem else None


CHAIN: tuple[Callable[[Spec], Refusal | None], ...] = (
    model_is_published,
    profile_is_known,
    engine_can,
    engine_args_are_free,
    pod_template_fits,
)


# Fields that need an optional API: the kind, the field, and whether a spec uses it.
NEEDED_APIS: tuple[tuple[str, str, Callable[[Spec], bool]], ...] = (
    ("PodMonitor", "observability.podMonitor", lambda spec: spec.observability.pod_monitor is True),
    (
        "ScaledObject",
        "scaling.metrics: keda",
        lambda spec: spec.scaling is not None and spec.scaling.metrics == "keda",
    ),
    # Only a mesh checks these; without one every client would be admitted.
    (AUTHORIZATION_POLICY, "security.jwt", lambda spec: spec.security.jwt is not None),
    (
        AUTHORIZATION_POLICY,
        "security.allowFrom[].serviceAccounts",
        lambda spec: any(peer.service_accounts for peer in spec.security.allow_from),
    ),
    ("LocalQueue", "scheduling.queue", lambda spec: spec.scheduling is not None),
)


def check(spec: Spec, served: frozenset[str]) -> Refusal | None:
    """Return the first refusal of the chain, None if the spec is valid.

    Args:
        spec: The spec to validate.
        served: Names of the optional kinds that the cluster has.
    """
    for step in CHAIN:
        if refusal := step(spec):
            return refusal
    return apis_are_there(spec, served)


def apis_are_there(spec: Spec, served: frozenset[str]) -> Refusal | None:
    """Refuse a spec that requests an optional API which the cluster does not have."""
    for kind, field, needed in NEEDED_APIS:
        if needed(spec) and kind not in served:
            return Refusal(
                API_MISSING,
                f"{field} needs the kind {kind}, which is not installed in this cluster. Install it "
                f"({install_commands()[kind]}), or remove {field}.",
            )
    return None


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
