"""On how many GPUs of which kind a replica runs, and what it can hold there.

The smallest number of GPUs is taken that can share the model and on which the weights and one
request of the wanted length fit. Of several acceptable kinds it is the first on which the model
fits and of which the cluster has nodes; a choice that was made stays while that holds of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import ResolvedModel
from deepseek_operator.catalog.accelerators import ANY_GPU, Profile, accelerators
from deepseek_operator.catalog.models import Model
from deepseek_operator.plan.sizing import refusals as misfit
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
from deepseek_operator.plan.sizing.model_lookup import Unknown, known_model
from deepseek_operator.plan.sizing.parallelism import COMMON_NODE, pods, split, tensor
from deepseek_operator.plan.state.observed import NodeView, Observed
from deepseek_operator.plan.state.refusal import Refusal
from deepseek_operator.plan.state.split import ALONE, Split

# Says why a kind won't do; what it says takes longer to find out than that it won't.
Why = Callable[[], Refusal]


@dataclass(frozen=True)
class Sizing:
    """What a replica runs on.

    Attributes:
        gpus: The GPUs of each of its pods, None for the CPU.
        dtype: The type of the computation, `auto` where the server is to choose.
        max_context: Tokens of a request that the server is told, None for what the model was made for.
        memory: How the model lies in each GPU, None where that is not known.
        note: What a person should know of the fit, as a sentence: that it was not checked, and why.
        before: What was resolved while the size was known, where it is not any more.
        split: How its GPUs, or on the CPU its pods, share the model.
    """

    gpus: Gpus | None
    dtype: str
    max_context: int | None
    memory: Memory | None = None
    note: str = ""
    before: ResolvedModel | None = None
    split: Split = ALONE

    @property
    def context(self) -> int | None:
        """Tokens of the longest request, None where that is not known."""
        return self.max_context or (self.memory.context if self.memory else None)

    @property
    def concurrency(self) -> str | None:
        """How many requests run at once, in words."""
        if self.memory is None:
            return None
        longest = self.context or self.memory.context
        lengths = [longest] + [4096] * (longest > 4096)
        counts = [f"{max(self.memory.requests(n), 1)} of {n:,} tokens" for n in lengths]
        return f"requests at once: {', or '.join(counts)}"


def size(spec: Spec, observed: Observed, previous: ResolvedModel | None) -> Sizing | Refusal:
    """What a replica of a spec runs on, or why it can't.

    Args:
        spec: It has passed the checks.
        observed: The nodes, and the model's config.json where it had to be read.
        previous: What was resolved before, for this spec or an earlier one.
    """
    model = known_model(spec, observed)
    if isinstance(model, Model) and (refusal := misfit.too_long(spec, model)):
        return refusal
    accelerator = spec.accelerator
    if accelerator is None:
        return _on_cpu(spec, model)
    if not accelerator.kinds:
        return _any_gpu(spec, model, observed.nodes, previous)
    found = {
        name: _on(spec, name, tensor(spec), model, previous, observed.nodes)
        for name in accelerator.kinds
    }
    options = {name: option for name, option in found.items() if isinstance(option, Sizing)}
    if not options:
        return misfit.all_of([why() for why in found.values() if not isinstance(why, Sizing)])
    return options[_chosen(options, observed.nodes, previous)]


def _on_cpu(spec: Spec, model: Model | Unknown) -> Sizing | Refusal:
    """Each process has a pod of its own, and with that a node's cores and memory."""
    count = tensor(spec) or 1
    if isinstance(model, Model) and not model.shape.splits(count):
        return misfit.uneven(spec, model, None, count, ())
    sizing = Sizing(None, spec.model.dtype, spec.model.max_context)
    return _spread(spec, sizing, count, (), None)


def _spread(
    spec: Spec,
    sizing: Sizing,
    shared: int,
    nodes: Sequence[NodeView],
    previous: ResolvedModel | None,
    together: int = COMMON_NODE,
) -> Sizing:
    """What a replica runs on, with its GPUs in as many pods as it takes.

    Args:
        spec: What is asked for.
        sizing: With all GPUs in one pod.
        shared: GPUs that share every layer.
        nodes: All nodes.
        previous: What was resolved before.
        together: GPUs of a node that nobody has seen.
    """
    asked, gpus = split(spec.parallelism, shared), sizing.gpus
    if spec.parallelism is None:
        return replace(sizing, split=asked)
    spread = replace(asked, pods=pods(asked, gpus, together, nodes, previous))
    each = replace(gpus, count=spread.gpus_of_pod) if gpus else None
    return replace(sizing, gpus=each, split=spread)


def _chosen(
    options: Mapping[str, Sizing], nodes: Sequence[NodeView], previous: ResolvedModel | None
) -> str:
    """The kind that was chosen before, else the first one; one with nodes before one without."""

    def there(name: str) -> bool:
        gpus = options[name].gpus
        return gpus is not None and any(gpus.fit(node) for node in nodes)

    before = previous.profile if previous else None
    order = sorted(options, key=lambda name: name != before)
    return next(filter(there, order), order[0])


def _on(
    spec: Spec,
    name: str,
    count: int | None,
    model: Model | Unknown,
    previous: ResolvedModel | None,
    nodes: Sequence[NodeView],
) -> Sizing | Why:
    """What a replica runs on if it is to be this kind, or what can be said of why it can't."""
    profile = accelerators().profiles[name]
    others = spec.parallelism.others if spec.parallelism else 1
    if (count or 1) * others > profile.together == 1:
        return partial(misfit.slices, name, (count or 1) * others)
    if isinstance(model, Unknown):
        sizing = _unknown(spec, name, profile, count, model, previous)
        shared = sizing.gpus.count if sizing.gpus else 1
        return _spread(spec, sizing, shared, nodes, previous, profile.together)
    dtype = compute_type(spec.model.dtype, model, profile)
    if not computes(model, profile, dtype):
        return partial(misfit.no_type, spec, model, name, profile, dtype)
    if count and not model.shape.splits(count):
        return partial(misfit.uneven, spec, model, name, count, nodes)
    memory = smallest(model, name, dtype, wanted(spec, model), count, stages(spec))
    if memory is None:
        return partial(misfit.too_small, spec, model, name, dtype, nodes)
    gpus = Gpus.of(name, profile, memory.gpus)
    sizing = Sizing(gpus, dtype, _written(spec, memory), memory)
    return _spread(spec, sizing, memory.gpus, nodes, previous, profile.together)


def _unknown(
    spec: Spec,
    name: str,
    profile: Profile,
    count: int | None,
    unknown: Unknown,
    previous: ResolvedModel | None,
) -> Sizing:
    """A model of unknown size is taken as it was resolved while it was known, else as it is written."""
    asked = spec.model
    if previous and _still_true(spec, name, count, previous):
        gpus = Gpus.of(name, profile, previous.tensor_parallel or 1)
        dtype = previous.dtype or asked.dtype
        return Sizing(
            gpus, dtype, previous.max_context, note=unchecked(unknown.why), before=previous
        )
    gpus = Gpus.of(name, profile, count or 1)
    return Sizing(gpus, asked.dtype, asked.max_context, note=unchecked(unknown.why))


def _still_true(spec: Spec, name: str, count: int | None, previous: ResolvedModel) -> bool:
    """Whether what was resolved when the model's size was known is what the spec asks for now."""
    model = spec.model
    return (
        previous.weight_bytes_per_gpu is not None
        and previous.profile == name
        and f"repository {model.id}@{model.revision} of " in previous.source
        and count in (None, previous.tensor_parallel)
        and model.max_context in (None, previous.max_context)
        and model.dtype in ("auto", previous.dtype)
    )


def _any_gpu(
    spec: Spec,
    model: Model | Unknown,
    nodes: Sequence[NodeView],
    previous: ResolvedModel | None,
) -> Sizing | Refusal:
    """A number of GPUs of no kind: what nodes say of theirs is told, and decides nothing but that.

    Nodes come and go, and a running replica must not change with them.
    """
    count, asked = tensor(spec) or 1, spec.model
    plain = Sizing(Gpus(ANY_GPU, count), asked.dtype, asked.max_context)
    plain = _spread(spec, plain, count, nodes, previous)
    if isinstance(model, Unknown):
        return replace(plain, note=unchecked(model.why))
    if not model.shape.splits(count):
        return misfit.uneven(spec, model, None, count, nodes)
    able = [node for node in nodes if plain.gpus and plain.gpus.fit(node)]
    kinds = {accelerators().of_node(node.labels) for node in able}
    why = "no node tells by its labels which kind of GPU it has; accelerator.profile names one"
    if not kinds or None in kinds:
        return replace(plain, note=unchecked(why))
    found = {
        kind: _on(spec, kind, count, model, None, nodes) for kind in sorted(filter(None, kinds))
    }
    fitting = {kind: option for kind, option in found.items() if isinstance(option, Sizing)}
    if not fitting:
        return misfit.all_of([why() for why in found.values() if not isinstance(why, Sizing)])
    least = min(filter(None, (option.memory for option in fitting.values())), key=_cache)
    others = ", ".join(kind for kind in found if kind not in fitting)
    note = f"It does not fit on nodes with {others}: name kinds that do in accelerator.profiles."
    return replace(plain, memory=least, note=note if others else "")


def unchecked(why: str) -> str:
    """The sentence that says that a fit was not checked."""
    return f"Whether the model fits was not checked: {why}."


def _cache(memory: Memory) -> int:
    return memory.cache


def _written(spec: Spec, memory: Memory) -> int | None:
    """The longest request that the server is told of: what is asked for, or what fits if that is less.

    All that the model was made for is left to the server, unless it was read from its own file: then
    the status has it too, from where it comes while the file can't be read.
    """
    model = memory.model
    if spec.model.max_context or (memory.context == model.shape.context and not model.read):
        return spec.model.max_context
    return memory.context if memory.context == model.shape.context else rounded(memory.context)


def resolved(sizing: Sizing) -> dict[str, Any]:
    """What the status says of it."""
    memory, before = sizing.memory, sizing.before
    chosen = memory.dtype if memory else None if sizing.gpus else "float32"
    return {
        "profile": sizing.gpus.profile if sizing.gpus else None,
        "tensor_parallel": sizing.split.tensor,
        "pods": sizing.split.pods if sizing.split.gpus > 1 else None,
        "pipeline_parallel": sizing.split.pipeline if sizing.split.pipeline > 1 else None,
        "dtype": chosen if sizing.dtype == "auto" else sizing.dtype,
        "max_context": sizing.context,
        "weight_bytes_per_gpu": memory.weights
        if memory
        else before and before.weight_bytes_per_gpu,
        "cache_bytes_per_gpu": memory.cache if memory else before and before.cache_bytes_per_gpu,
        "concurrency": before.concurrency if before else sizing.concurrency,
    }
