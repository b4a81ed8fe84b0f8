"""Provisioning for a load: for each GPU profile the fewest GPUs that meet the latency limits."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

from deepseek_operator.advisor.performance import Prediction, Speed
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import Model, models
from deepseek_operator.plan.sizing.fit import LEAST_CONTEXT, compute_type, computes, smallest

Data = Literal["anywhere", "cloud", "hybrid", "on-premises"]
# Utilisation of a replica at the peak: above this, queues grow faster than the load.
FULL = 0.8
GPUS = (1, 2, 4, 8, 16)
AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Requirements:
    """The requirements.

    Attributes:
        ttft: Maximum time to first token in seconds, None: any.
        itl: Maximum inter-token latency in seconds, None: any.
        data: Where prompts and answers may be processed.
        budget: Maximum dollars per month.
        people: Dollars per month for the staff of own machines.
        cached: Share of prompt tokens that a hosted API has cached.
        busy: Share of the requests in the peak hours of a hosted API.
        interruptible: Whether interruptions of the service are acceptable.
    """

    model_id: str
    load: Load
    ttft: float | None = None
    itl: float | None = None
    data: Data = "anywhere"
    budget: float | None = None
    people: float | None = None
    cached: float = 0.0
    busy: float = 0.0
    interruptible: bool = False


@dataclass(frozen=True)
class Shape:
    """Replicas on one GPU profile that carry the load.

    Attributes:
        gpus: GPUs of a replica.
        at: Performance of a replica at the highest concurrency that meets the latency limits.
        mean: Replicas for the average load.
        peak: Replicas for the peak.
    """

    profile: str
    gpus: int
    at: Prediction
    mean: int
    peak: int


def shapes(requirements: Requirements) -> Iterator[Shape]:
    """Yield the replicas that carry the load, by GPU profile; none for models of unknown speed."""
    model = models().get(requirements.model_id)
    if model is None:
        return
    for name, profile in accelerators().profiles.items():
        dtype = compute_type("auto", model, profile)
        # The bundled server's image is for NVIDIA's GPUs.
        if profile.capability and computes(model, profile, dtype):
            shape = _shape(requirements, model, name, dtype)
            if shape:
                yield shape


def _shape(requirements: Requirements, model: Model, name: str, dtype: str) -> Shape | None:
    """Return the replicas of a profile that meet the latency limits with the fewest GPUs in total.

    A replica that barely holds the model has little KV cache, so more GPUs per replica may need fewer
    GPUs in total.
    """
    context = context_of(requirements.load, model)
    if context is None:
        return None
    together = accelerators().profiles[name].together
    tried = (
        _of(requirements, model, name, dtype, context, gpus) for gpus in GPUS if gpus <= together
    )
    found = [shape for shape in tried if shape is not None]
    return min(found, key=lambda s: (s.gpus * s.peak, s.gpus * s.mean, s.gpus), default=None)


def _of(
    requirements: Requirements, model: Model, name: str, dtype: str, context: int, gpus: int
) -> Shape | None:
    """Return replicas of `gpus` GPUs each, None if they don't fit the model or meet the latency limits."""
    load = requirements.load
    memory = smallest(model, name, dtype, context, gpus)
    if memory is None or not Speed(memory, name).known:
        return None
    most = memory.requests(load.input + load.output)
    best = None
    for count in sorted({min(number, most) for number in AT_ONCE} - {0}):
        at = Speed(memory, name).at(count, load.input, load.output)
        slow = requirements.itl is not None and at.itl > requirements.itl
        late = requirements.ttft is not None and at.ttft > requirements.ttft
        if not slow and not late:
            best = at
    if best is None:
        return None
    each = best.requests(load.output) * FULL
    mean, peak = (max(1, ceil(rate / each - 1e-9)) for rate in (load.requests, load.peak))
    return Shape(name, gpus, best, mean, peak)


def context_of(load: Load, model: Model) -> int | None:
    """Return the context length that a load needs, None if it exceeds the model's."""
    longest = load.input + load.output
    if longest > model.shape.context:
        return None
    return max(longest, min(LEAST_CONTEXT, model.shape.context))
