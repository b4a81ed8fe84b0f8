"""What would carry a load: for each kind of GPU the fewest that hold the model and are quick enough."""

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
# How full a replica is at the peak: above this, queues grow faster than load.
FULL = 0.8
GPUS = (1, 2, 4, 8, 16)
AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        ttft: Seconds to the first token at most, None: any.
        itl: Seconds between two tokens at most.
        data: Where prompts and answers may be.
        budget: Dollars of a month at most.
        people: Dollars of a month for those who run one's own machines.
        cached: Share of prompts that a service has seen before.
        busy: Share of the requests in a service's busy hours.
        interruptible: Whether nobody minds when nothing serves for a while.
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
    """Replicas of a kind that carry the load.

    Attributes:
        gpus: Of a replica.
        at: What a replica does when it is as full as the latency allows.
        mean: Replicas that the average load takes.
        peak: Replicas that the peak takes.
    """

    profile: str
    gpus: int
    at: Prediction
    mean: int
    peak: int


def shapes(wish: Wish) -> Iterator[Shape]:
    """What would carry the load, by kind of GPU; nothing of a model that nobody knows the speed of."""
    model = models().get(wish.model_id)
    if model is None:
        return
    for name, profile in accelerators().profiles.items():
        dtype = compute_type("auto", model, profile)
        # The bundled server's image is for NVIDIA's GPUs.
        if profile.capability and computes(model, profile, dtype):
            shape = _shape(wish, model, name, dtype)
            if shape:
                yield shape


def _shape(wish: Wish, model: Model, name: str, dtype: str) -> Shape | None:
    """Return the replica of a kind that holds the model, is quick enough and needs the fewest GPUs.

    A replica that barely holds the model has little room for requests, so more GPUs for each replica
    may be fewer in all.
    """
    context = context_of(wish.load, model)
    if context is None:
        return None
    together = accelerators().profiles[name].together
    tried = (_of(wish, model, name, dtype, context, gpus) for gpus in GPUS if gpus <= together)
    found = [shape for shape in tried if shape is not None]
    return min(found, key=lambda s: (s.gpus * s.peak, s.gpus * s.mean, s.gpus), default=None)


def _of(wish: Wish, model: Model, name: str, dtype: str, context: int, gpus: int) -> Shape | None:
    """Return the replica of so many GPUs, if it holds the model and is quick enough."""
    load = wish.load
    memory = smallest(model, name, dtype, context, gpus)
    if memory is None or not Speed(memory, name).known:
        return None
    most = memory.requests(load.input + load.output)
    best = None
    for count in sorted({min(number, most) for number in AT_ONCE} - {0}):
        at = Speed(memory, name).at(count, load.input, load.output)
        slow = wish.itl is not None and at.itl > wish.itl
        late = wish.ttft is not None and at.ttft > wish.ttft
        if not slow and not late:
            best = at
    if best is None:
        return None
    each = best.requests(load.output) * FULL
    mean, peak = (max(1, ceil(rate / each - 1e-9)) for rate in (load.requests, load.peak))
    return Shape(name, gpus, best, mean, peak)


def context_of(load: Load, model: Model) -> int | None:
    """Tokens that a request must be able to have; None: more than the model was made for."""
    longest = load.input + load.output
    if longest > model.shape.context:
        return None
    return max(longest, min(LEAST_CONTEXT, model.shape.context))
