"""Whether a model fits on a kind of GPU, and on how many of them."""

from deepseek_operator.api.spec import Spec
from deepseek_operator.catalog.accelerators import Profile, accelerators
from deepseek_operator.catalog.models import Model
from deepseek_operator.plan.sizing.memory import Memory

# Tokens that a request can have at least where nobody says how many: a question and a long answer.
LEAST_CONTEXT = 8192
# Requests of that many tokens that must have room at once where the number of GPUs is chosen here: a
# server with room for one answers the others late.
AT_ONCE = 2
# What a context that was cut to fit is a multiple of, so that it does not change with every detail.
ROUND = 1024


def smallest(
    model: Model, name: str, dtype: str, context: int, count: int | None = None, stages: int = 1
) -> Memory | None:
    """Return how a model lies on the fewest GPUs of a kind that hold it and its requests.

    Without a number to try these are GPUs of one node; several nodes are for a person to ask for.

    Args:
        model: The model.
        name: The kind.
        dtype: The type of the computation.
        context: Tokens of the request.
        count: How many are to share every layer, None for as few as possible.
        stages: Groups of layers, each on as many GPUs.
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
    """Groups of layers that a spec asks for."""
    return (spec.parallelism and spec.parallelism.pipeline) or 1


def wanted(spec: Spec, model: Model) -> int:
    """Tokens that a request must be able to have."""
    return spec.model.max_context or min(model.shape.context, LEAST_CONTEXT)


def compute_type(asked: str, model: Model, profile: Profile) -> str:
    """The type of the computation, as the server chooses it on such a GPU."""
    if asked != "auto":
        return asked
    lacks = model.dtype == "bfloat16" and "bfloat16" not in profile.tflops
    return "float16" if lacks else model.dtype


def computes(model: Model, profile: Profile, dtype: str) -> bool:
    """Whether the server computes a model in a type on a kind of GPU."""
    return dtype in profile.tflops and (dtype != "float16" or model.shape.in_float16)


def rounded(context: int) -> int:
    """A context that was cut to fit, as it is written."""
    return context // ROUND * ROUND or context
