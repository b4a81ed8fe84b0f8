"""What to say of a model that does not fit: the arithmetic, and what would fit instead."""

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

# Other kinds of GPU to name.
OTHERS = 3
# A shorter context than this is no way out.
SHORTEST = 1024


def too_long(spec: Spec, model: Model) -> Refusal | None:
    """A context that is longer than what the model was made for."""
    asked, made_for = spec.model.max_context or 0, model.shape.context
    if asked <= made_for:
        return None
    return Refusal(
        CONTEXT_TOO_LONG,
        f"model.maxContext {asked} is more than {spec.model.id} was made for. "
        f"Set it to {made_for} or less, or leave it out.",
    )


def slices(name: str, count: int) -> Refusal:
    """Several slices of GPUs for one model."""
    return Refusal(
        UNEVEN_SPLIT,
        f"{count} x {name} can't serve one model together. Slices of a GPU can't send each other "
        "anything: set accelerator.count to 1, or choose a profile of whole GPUs.",
    )


def no_type(spec: Spec, model: Model, name: str, profile: Profile, dtype: str) -> Refusal:
    """A type that the GPU, or the server with this model, does not compute in."""
    types = [kind for kind in ("bfloat16", "float16", "float32") if computes(model, profile, kind)]
    return Refusal(
        TYPE_UNSUPPORTED,
        f"{spec.model.id} can't be computed in {dtype} on {name}. "
        f"Set model.dtype to {' or '.join(types)}, or choose another accelerator.profile.",
    )


def uneven(
    spec: Spec, model: Model, name: str | None, count: int, nodes: Sequence[NodeView]
) -> Refusal:
    """A number of GPUs that the model can't be split over."""
    shape = model.shape
    numbers = [f"{number} {what}" for what, number in shape.divided.items() if number % count]
    why = shape.uneven or f"{count} does not divide its {' and its '.join(numbers)}"
    if count > MOST:
        why = f"the bundled server shares a model among {MOST} at most"
    ways = [f"accelerator.count {number}" for number in _counts(spec, model, name)]
    if not ways and name:
        ways = list(_ways_out(spec, model, name, nodes))
    return Refusal(
        UNEVEN_SPLIT,
        f"{spec.model.id} can't be split over {count} GPUs. The reason: {why}. {_instead(ways)}",
    )


def too_small(
    spec: Spec, model: Model, name: str, dtype: str, nodes: Sequence[NodeView]
) -> Refusal:
    """GPUs whose memory does not hold the model."""
    profile = accelerators().profiles[name]
    shared = tensor(spec) or _most(model, profile)
    memory = Memory(model, profile, shared, dtype, stages=stages(spec))
    count = split(spec.parallelism, shared).gpus
    needed = wanted(spec, model)
    left = (
        f"what is left holds a request of {memory.context} tokens, and {needed} are wanted"
        if memory.context
        else "that leaves nothing for the cache of requests"
    )
    whole = f" ({model.shape.uneven})" if model.shape.uneven else ""
    return Refusal(
        DOES_NOT_FIT,
        f"{spec.model.id} does not fit on {Gpus.of(name, profile, count)}. "
        f"Each GPU has {_gb(memory.total)}: the driver and the libraries keep "
        f"{_gb(memory.reserved)}, the weights take {_gb(memory.weights)}{whole}, steps "
        f"{_gb(memory.steps)}; {left}. {_instead(list(_ways_out(spec, model, name, nodes)))}",
    )


def all_of(refusals: Sequence[Refusal]) -> Refusal:
    """What to say where each acceptable kind of GPU is refused."""
    first = refusals[0]
    if len(refusals) == 1:
        return first
    others = " ".join(f"{other.message.split('. ')[0].rstrip('.')}." for other in refusals[1:])
    return Refusal(first.reason, f"{first.message} {others}")


def _ways_out(spec: Spec, model: Model, name: str, nodes: Sequence[NodeView]) -> Iterator[str]:
    """What would fit, as it is to be written: the least change first."""
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
    """How many whole nodes hold a model that one does not, 0 where none do."""
    together = accelerators().profiles[name].together
    if together == 1:
        return 0
    for number in range(2, MOST // together + 1):
        if smallest(model, name, dtype, wanted(spec, model), number * together):
            return number
    return 0


def _other_kinds(spec: Spec, model: Model, nodes: Sequence[NodeView]) -> list[str]:
    """Kinds that fit: first those that the cluster has, then by how much memory they take."""
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
    return [words for _, _, words in sorted(found)[:OTHERS]]


def _counts(spec: Spec, model: Model, name: str | None) -> list[int]:
    """The numbers of GPUs that would do, of a kind if there is one."""
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
    """As many of a kind as can share a model on one node."""
    return max(count for count in range(1, profile.together + 1) if model.shape.splits(count))


def _instead(ways: list[str]) -> str:
    if ways:
        return f"What would fit: {', or '.join(ways)}."
    return "No number of GPUs of a kind in the catalogue holds it: choose a smaller model."


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
