"""Registry of engines."""

from collections.abc import Callable, Mapping

from deepseek_operator.api.engine import EngineType
from deepseek_operator.plan.engines import sglang, transformers, vllm
from deepseek_operator.plan.engines.program import Programs, Serving

PROGRAMS: Mapping[EngineType, Callable[[Serving], Programs]] = {
    "transformers": transformers.programs,
    "vllm": vllm.programs,
    "sglang": sglang.programs,
}


def programs(engine: EngineType, serving: Serving) -> Programs:
    """Return the containers of the pods of a replica.

    Args:
        engine: The engine.
        serving: The model to serve, and how.
    """
    return PROGRAMS[engine](serving)
