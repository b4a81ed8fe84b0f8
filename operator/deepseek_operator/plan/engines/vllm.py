"""vLLM: `vllm serve`, on several pods by its own multiprocessing, without Ray.

Flags and paths are those of the release in the catalogue (hack/engines/vllm.json).
"""

from deepseek_operator.catalog.engines import engines
from deepseek_operator.plan.engines.probes import probes
from deepseek_operator.plan.engines.program import (
    LEADER_ADDRESS,
    MEETING_PORT,
    PORT,
    WORKER_INDEX,
    Probe,
    Program,
    Programs,
    Serving,
)
from deepseek_operator.plan.engines.variables import of_foreign_image

COMMAND = ("vllm", "serve")
# Returns 503 once the engine processes are gone; it does not detect a hanging step.
ALIVE = Probe("/health", period=10, failures=6, timeout=10)


def programs(serving: Serving) -> Programs:
    """Return the containers of its pods."""
    env = {
        **of_foreign_image(serving),
        # Disables vLLM's usage statistics.
        "VLLM_NO_USAGE_STATS": "1",
        **serving.env,
    }
    common = (*_model(serving), *_parallelism(serving))
    front = (*_listen(serving), *_parsers(serving.model_id))
    leader = Program(
        COMMAND,
        (*common, *front, *serving.args),
        env,
        probes(serving.start_seconds, ALIVE, ready="/health"),
    )
    if serving.split.pods == 1:
        return Programs(leader)
    # A worker has no HTTP server, and ends by itself when its leader is gone.
    return Programs(leader, Program(COMMAND, (*common, "--headless", *serving.args), env, None))


def _model(serving: Serving) -> tuple[str, ...]:
    args = [serving.model, "--served-model-name", serving.served_name, "--dtype", serving.dtype]
    if serving.revision is not None:
        args += ["--revision", serving.revision]
    # `auto`: the model's context length, or what the KV cache holds if that is less. vLLM knows its
    # memory use better than the operator, whose formulas are for the bundled server.
    length = str(serving.max_context) if serving.asked_context else "auto"
    return (*args, "--max-model-len", length)


def _parallelism(serving: Serving) -> tuple[str, ...]:
    asked = serving.split
    args = []
    for flag, size in (
        ("--tensor-parallel-size", asked.tensor),
        ("--pipeline-parallel-size", asked.pipeline),
        ("--data-parallel-size", asked.data),
    ):
        if size > 1:
            args += [flag, str(size)]
    if asked.expert:
        args.append("--enable-expert-parallel")
    if asked.pods > 1:
        # Data-parallel ranks are derived from the node rank.
        args += ["--nnodes", str(asked.pods), "--node-rank", WORKER_INDEX]
        args += ["--master-addr", LEADER_ADDRESS, "--master-port", str(MEETING_PORT)]
    return tuple(args)


def _listen(serving: Serving) -> tuple[str, ...]:
    # Without a timeout it would abort running requests.
    drain = str(serving.drain_seconds)
    address = "0.0.0.0"  # noqa: S104 - a pod's own address
    return ("--host", address, "--port", str(PORT), "--shutdown-timeout", drain)


def _parsers(model_id: str) -> tuple[str, ...]:
    found = engines()["vllm"].parsers_of(model_id)
    args = ["--reasoning-parser", found.reasoning] if found.reasoning else []
    if found.tools:
        args += ["--enable-auto-tool-choice", "--tool-call-parser", found.tools]
    return tuple(args)
