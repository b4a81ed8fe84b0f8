"""Sizing of a replica: the number and profile of its GPUs, and the context that fits.

The smallest number of GPUs is used that the model can be split over and that holds the weights and
one request of the required length. Of several acceptable profiles the first one is used that fits
the model and that the cluster has nodes for; an earlier choice is kept while it satisfies both.
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

# Computes why a profile is refused; lazy, because finding alternatives is slower than the refusal.
Why = Callable[[], Refusal]


@dataclass(frozen=True)
class Sizing:
    """The hardware of a replica.

    Attributes:
        gpus: GPUs of each pod, None for the CPU.
        dtype: Data type of the computation, `auto` if the server chooses.
        max_context: Context length of the server in tokens, None for the model's own.
        memory: Memory use of the model on each GPU, None if unknown.
        note: A sentence for the user about the fit, such as why it was not checked.
        before: The sizing resolved while the model's size was known, if it is no longer known.
        split: How the GPUs, or on the CPU the pods, share the model.
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
        """Tokens of the longest request, None if unknown."""
        return self.max_context or (self.memory.context if self.memory else None)

    @property
    def concurrency(self) -> str | None:
        """The number of concurrent requests, as text; None if unknown."""
        if self.memory is None:
            return None
        longest = self.context or self.memory.context
        lengths = [longest] + [4096] * (longest > 4096)
        counts = [f"{max(self.memory.requests(n), 1)} of {n:,} tokens" for n in lengths]
        return f"requests at once: {', or '.join(counts)}"


def size(spec: Spec, observed: Observed, previous: ResolvedModel | None) -> Sizing | Refusal:
    """Return the hardware of a replica, or a refusal.

    Args:
        spec: The spec, which has passed the checks.
        observed: The nodes, and the model's config.json if it had to be read.
        previous: The sizing resolved before, for this spec or an earlier one.
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
    """Return the sizing on CPUs: one pod for each process, to give it a node's cores and memory."""
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
    """Distribute the GPUs of a replica over as many pods as the nodes require.

    Args:
        spec: The spec.
        sizing: The sizing with all GPUs in one pod.
        shared: GPUs that share every layer.
        nodes: All nodes.
        previous: The sizing resolved before.
        together: Assumed GPUs of a node while no matching node exists.
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
    """Return the profile to use: one that has nodes first, then the earlier choice, then spec order."""

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
    """Return the sizing on one profile, or a function that computes the refusal."""
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
    """Return the sizing of a model of unknown size: as resolved earlier, else as the spec says."""
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
    """Tell whether an earlier sizing of known size still matches the spec."""
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
    """Return the sizing on a number of GPUs without a profile.

    The profiles of the nodes decide only whether the model fits. They don't change the pods: nodes
    come and go, and a running replica must not change with them.
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
    why = "the node labels don't show the GPU model; set accelerator.profile to have it checked"
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
    note = (
        f"It does not fit on nodes with {others}: list profiles that fit in accelerator.profiles."
    )
    return replace(plain, memory=least, note=note if others else "")


def unchecked(why: str) -> str:
    """Return a sentence that the fit was not checked, with the reason."""
    return f"Whether the model fits was not checked: {why}."


def _cache(memory: Memory) -> int:
    return memory.cache


def _written(spec: Spec, memory: Memory) -> int | None:
    """Return the context length for the server: as requested, or what fits if that is less.

    The model's full context is left to the server, unless it was read from config.json: then it is
    also recorded in the status, which provides it while that file can't be read.
    """
    model = memory.model
    if spec.model.max_context or (memory.context == model.shape.context and not model.read):
        return spec.model.max_context
    return memory.context if memory.context == model.shape.context else rounded(memory.context)


def resolved(sizing: Sizing) -> dict[str, Any]:
    """Return the fields of status.resolved for a sizing."""
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
