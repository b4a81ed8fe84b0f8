"""Fit of a model: whether a GPU profile can serve it, and with how many GPUs."""

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import Model
from deepseek_operator.plan.sizing.memory import Memory

# Context length that must fit if the spec sets none: a question and a long answer.
LEAST_CONTEXT = 8192
# Concurrent requests of that length that must fit if the operator chooses the number of GPUs: a
# server with room for one delays all others.
AT_ONCE = 2
# A context that is reduced to fit is rounded down to a multiple of this, so that it is stable.
ROUND = 1024


def smallest(
    model: Model, name: str, dtype: str, context: int, count: int | None = None, stages: int = 1
) -> Memory | None:
    """Return the memory use on the fewest GPUs of a profile that hold the model and its requests.

    Without `count` only the GPUs of one node are tried; several nodes have to be requested in the spec.

    Args:
        model: The model.
        name: Name of the profile.
        dtype: Data type of the computation.
        context: Tokens of a request.
        count: GPUs that share every layer, None for as few as possible.
        stages: Pipeline stages, each on as many GPUs.
    """
    profile = accelerators().profiles[name]
    for gpus in [count] if count else range(1, profile.together + 1):
        memory = Memory(model, profile, gpus, dtype, stages=stages)
        enough = memory.context >= context
        if count is None:
            enough = enough and memory.requests(min(context, LEAST_CONTEXT)) >= AT_ONCE
        if model.shape.splits(gpus) and enough:
            return memory
    return None


def stages(spec: Spec) -> int:
    """Return the number of pipeline stages of a spec."""
    return (spec.parallelism and spec.parallelism.pipeline) or 1


def wanted(spec: Spec, model: Model) -> int:
    """Return the context length that must fit."""
    return spec.model.max_context or min(model.shape.context, LEAST_CONTEXT)


def compute_type(asked: str, model: Model, profile: Profile) -> str:
    """Return the data type of the computation, as the server chooses it on such a GPU."""
    if asked != "auto":
        return asked
    lacks = model.dtype == "bfloat16" and "bfloat16" not in profile.tflops
    return "float16" if lacks else model.dtype


def computes(model: Model, profile: Profile, dtype: str) -> bool:
    """Tell whether the server can run a model in a data type on a GPU profile."""
    return dtype in profile.tflops and (dtype != "float16" or model.shape.in_float16)


def rounded(context: int) -> int:
    """Round down a context that was reduced to fit."""
    return context // ROUND * ROUND or context
