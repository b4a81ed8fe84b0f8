"""What the API server can't see: a chain of checks that each refuse a spec with a reason and a way out."""

from collections.abc import Callable
from dataclasses import dataclass

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.labels import PREFIX

UNKNOWN_MODEL = "UnknownModel"
UNKNOWN_PROFILE = "UnknownProfile"
POD_TEMPLATE_CONFLICT = "PodTemplateConflict"
API_MISSING = "ApiMissing"


@dataclass(frozen=True)
class Refusal:
    """Why a spec is not carried out.

    Attributes:
        reason: One CamelCase word for programs.
        message: What is wrong and what to write instead.
    """

    reason: str
    message: str


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


def pod_labels_are_free(spec: Spec) -> Refusal | None:
    """The operator finds its pods by labels of its own."""
    taken = sorted(name for name in spec.pod_template.metadata.labels if name.startswith(PREFIX))
    if not taken:
        return None
    return Refusal(
        POD_TEMPLATE_CONFLICT,
        f"podTemplate.metadata.labels must not set {', '.join(taken)}: labels that start with "
        f"{PREFIX} belong to the operator. Remove them.",
    )


def containers_have_names(spec: Spec) -> Refusal | None:
    """What is merged by name needs one."""
    for field in ("containers", "initContainers", "volumes"):
        items = spec.pod_template.spec.get(field, [])
        if not isinstance(items, list) or not all(
            isinstance(item, dict) and isinstance(item.get("name"), str) for item in items
        ):
            return Refusal(
                POD_TEMPLATE_CONFLICT,
                f"podTemplate.spec.{field} must be a list of objects that each have a name; "
                "the model server's container is called server.",
            )
    return None


CHAIN: tuple[Callable[[Spec], Refusal | None], ...] = (
    model_is_published,
    profile_is_known,
    pod_labels_are_free,
    containers_have_names,
)


def check(spec: Spec) -> Refusal | None:
    """The first refusal of the chain, or None where the spec can be carried out."""
    for step in CHAIN:
        if refusal := step(spec):
            return refusal
    return None


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
