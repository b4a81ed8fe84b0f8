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
# 503 once the processes that compute are gone; a step that hangs it does not notice.
ALIVE = Probe("/health", period=10, failures=6, timeout=10)


def programs(serving: Serving) -> Programs:
    """What runs in its pods."""
    env = {
        **of_foreign_image(serving),
        # It would tell its makers what it runs on.
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
    # A worker has no HTTP server; when its leader goes it ends by itself.
    return Programs(leader, Program(COMMAND, (*common, "--headless", *serving.args), env, None))


def _model(serving: Serving) -> tuple[str, ...]:
    args = [serving.model, "--served-model-name", serving.served_name, "--dtype", serving.dtype]
    if serving.revision is not None:
        args += ["--revision", serving.revision]
    # `auto`: all that the model was made for, or less where that is more than the cache holds. It
    # knows what it takes of a GPU better than the operator, which computes for the bundled server.
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
        # The ranks of data parallelism follow from that of the node.
        args += ["--nnodes", str(asked.pods), "--node-rank", WORKER_INDEX]
        args += ["--master-addr", LEADER_ADDRESS, "--master-port", str(MEETING_PORT)]
    return tuple(args)


def _listen(serving: Serving) -> tuple[str, ...]:
    # Without a timeout it would break off what runs.
    drain = str(serving.drain_seconds)
    address = "0.0.0.0"  # noqa: S104 - a pod's own address
    return ("--host", address, "--port", str(PORT), "--shutdown-timeout", drain)


def _parsers(model_id: str) -> tuple[str, ...]:
    found = engines()["vllm"].parsers_of(model_id)
    args = ["--reasoning-parser", found.reasoning] if found.reasoning else []
    if found.tools:
        args += ["--enable-auto-tool-choice", "--tool-call-parser", found.tools]
    return tuple(args)
