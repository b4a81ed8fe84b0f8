"""Refusals of models that do not fit: the arithmetic, and alternatives that fit."""

from collections.abc import Iterator, Sequence

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import Model
from deepseek_operator.catalog.shape import MOST
from deepseek_operator.plan.sizing.fit import (
    compute_type,
    computes,
    rounded,
    smallest,
    stages,
    wanted,
)
from deepseek_operator.plan.sizing.gpus import Gpus
from deepseek_operator.plan.sizing.memory import Memory
from deepseek_operator.plan.sizing.parallelism import split, tensor
from deepseek_operator.plan.state.observed import NodeView
from deepseek_operator.plan.state.refusal import Refusal

DOES_NOT_FIT = "DoesNotFit"
CONTEXT_TOO_LONG = "ContextTooLong"
UNEVEN_SPLIT = "UnevenSplit"
TYPE_UNSUPPORTED = "TypeUnsupported"

# Number of other GPU profiles in a message.
OTHERS = 3
# The shortest context that is offered as an alternative.
SHORTEST = 1024


def too_long(spec: Spec, model: Model) -> Refusal | None:
    """Refuse a context that is longer than the model supports."""
    asked, made_for = spec.model.max_context or 0, model.shape.context
    if asked <= made_for:
        return None
    return Refusal(
        CONTEXT_TOO_LONG,
        f"model.maxContext {asked} exceeds the context length of {spec.model.id}. "
        f"Set it to {made_for} or less, or leave it out.",
    )


def slices(name: str, count: int) -> Refusal:
    """Refuse several GPU slices for one model."""
    return Refusal(
        UNEVEN_SPLIT,
        f"{count} x {name} can't serve one model together. GPU slices can't communicate with each "
        "other: set accelerator.count to 1, or choose a profile of whole GPUs.",
    )


def no_type(spec: Spec, model: Model, name: str, profile: Profile, dtype: str) -> Refusal:
    """Refuse a data type that the GPU, or the server for this model, does not support."""
    types = [kind for kind in ("bfloat16", "float16", "float32") if computes(model, profile, kind)]
    return Refusal(
        TYPE_UNSUPPORTED,
        f"{spec.model.id} can't run in {dtype} on {name}. "
        f"Set model.dtype to {' or '.join(types)}, or choose another accelerator.profile.",
    )


def uneven(
    spec: Spec, model: Model, name: str | None, count: int, nodes: Sequence[NodeView]
) -> Refusal:
    """Refuse a number of GPUs that the model can't be split over."""
    shape = model.shape
    numbers = [f"{number} {what}" for what, number in shape.divided.items() if number % count]
    why = shape.uneven or f"{count} does not divide its {' and its '.join(numbers)}"
    if count > MOST:
        why = f"the bundled server splits a model over at most {MOST} GPUs"
    ways = [f"accelerator.count {number}" for number in _counts(spec, model, name)]
    if not ways and name:
        ways = list(_ways_out(spec, model, name, nodes))
    return Refusal(
        UNEVEN_SPLIT,
        f"{spec.model.id} can't be split over {count} GPUs. Reason: {why}. {_instead(ways)}",
    )


def too_small(
    spec: Spec, model: Model, name: str, dtype: str, nodes: Sequence[NodeView]
) -> Refusal:
    """Refuse GPUs whose memory does not hold the model."""
    profile = accelerators().profiles[name]
    shared = tensor(spec) or _most(model, profile)
    memory = Memory(model, profile, shared, dtype, stages=stages(spec))
    count = split(spec.parallelism, shared).gpus
    needed = wanted(spec, model)
    left = (
        f"the rest holds a request of {memory.context} tokens, {needed} are required"
        if memory.context
        else "no memory is left for the KV cache"
    )
    whole = f" ({model.shape.uneven})" if model.shape.uneven else ""
    return Refusal(
        DOES_NOT_FIT,
        f"{spec.model.id} does not fit on {Gpus.of(name, profile, count)}. "
        f"Each GPU has {_gb(memory.total)}: driver and libraries take "
        f"{_gb(memory.reserved)}, the weights {_gb(memory.weights)}{whole}, activations and CUDA graphs "
        f"{_gb(memory.steps)}; {left}. {_instead(list(_ways_out(spec, model, name, nodes)))}",
    )


def all_of(refusals: Sequence[Refusal]) -> Refusal:
    """Combine the refusals of all acceptable GPU profiles into one."""
    first = refusals[0]
    if len(refusals) == 1:
        return first
    others = " ".join(f"{other.message.split('. ')[0].rstrip('.')}." for other in refusals[1:])
    return Refusal(first.reason, f"{first.message} {others}")


def _ways_out(spec: Spec, model: Model, name: str, nodes: Sequence[NodeView]) -> Iterator[str]:
    """Yield alternatives that fit, as fields to set, the smallest change first."""
    asked = spec.model.max_context
    profile = accelerators().profiles[name]
    dtype = compute_type(spec.model.dtype, model, profile)
    count = tensor(spec)
    if computes(model, profile, dtype):
        more = smallest(model, name, dtype, wanted(spec, model)) if count else None
        if more:
            field = "parallelism.tensor" if spec.parallelism else "accelerator.count"
            yield f"{field} {more.gpus}"
        most = Memory(model, profile, count or _most(model, profile), dtype)
        shorter = rounded(most.context)
        if asked and SHORTEST <= shorter < asked and model.shape.splits(most.gpus):
            yield f"model.maxContext {shorter}"
        if nodes_needed := _several_nodes(spec, model, name, dtype):
            yield f"parallelism.tensor {profile.together * nodes_needed} on {nodes_needed} nodes"
    yield from _other_kinds(spec, model, nodes)


def _several_nodes(spec: Spec, model: Model, name: str, dtype: str) -> int:
    """Return the number of whole nodes that hold a model too large for one, 0 if none do."""
    together = accelerators().profiles[name].together
    if together == 1:
        return 0
    for number in range(2, MOST // together + 1):
        if smallest(model, name, dtype, wanted(spec, model), number * together):
            return number
    return 0


def _other_kinds(spec: Spec, model: Model, nodes: Sequence[NodeView]) -> list[str]:
    """Return profiles that fit: those of the cluster's nodes first, then by memory."""
    accelerator = spec.accelerator
    listed = accelerator.kinds if accelerator else []
    found = []
    for name, profile in accelerators().profiles.items():
        dtype = compute_type(spec.model.dtype, model, profile)
        if name in listed or not computes(model, profile, dtype):
            continue
        if memory := smallest(model, name, dtype, wanted(spec, model)):
            gpus = Gpus.of(name, profile, memory.gpus)
            there = any(gpus.fit(node) for node in nodes)
            # The bundled server's image is for NVIDIA's GPUs.
            if there or profile.capability:
                found.append((not there, memory.gpus * profile.memory, str(gpus)))
    return [text for _, _, text in sorted(found)[:OTHERS]]


def _counts(spec: Spec, model: Model, name: str | None) -> list[int]:
    """Return the numbers of GPUs that the model can use, of one profile if given."""
    if name is None:
        return [count for count in range(1, MOST + 1) if model.shape.splits(count)]
    profile = accelerators().profiles[name]
    dtype = compute_type(spec.model.dtype, model, profile)
    return [
        count
        for count in range(1, profile.together + 1)
        if smallest(model, name, dtype, wanted(spec, model), count)
    ]


def _most(model: Model, profile: Profile) -> int:
    """Return the largest number of GPUs of one node that the model can be split over."""
    return max(count for count in range(1, profile.together + 1) if model.shape.splits(count))


def _instead(ways: list[str]) -> str:
    if ways:
        return f"What would fit: {', or '.join(ways)}."
    return "No GPU profile of the catalogue holds it: choose a smaller model."


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
