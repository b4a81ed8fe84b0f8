"""SGLang: `python3 -m sglang.launch_server`, one process group over all pods.

Flags and paths are those of the release in the catalogue (hack/engines/sglang.json).
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
from deepseek_operator.plan.state.split import Split

COMMAND = ("python3", "-m", "sglang.launch_server")
# An idle server generates a token for this request, with a timeout of 20 seconds.
ALIVE = Probe("/health", period=10, failures=6, timeout=30)


def programs(serving: Serving) -> Programs:
    """Return the containers of its pods."""
    env = {**of_foreign_image(serving), **serving.env}
    common = (*_model(serving), *_parallelism(serving.split))
    front = (*_listen(), *_parsers(serving.model_id))
    leader = Program(
        COMMAND,
        (*common, *front, *serving.args),
        env,
        # At SIGTERM it completes running requests within the pod's grace period; no flag is needed.
        probes(serving.start_seconds, ALIVE, ready="/ready"),
    )
    if serving.split.pods == 1:
        return Programs(leader)
    # All pods of a group run the same command; those with a rank above 0 serve no requests.
    return Programs(leader, Program(COMMAND, leader.args, env, None))


def _model(serving: Serving) -> tuple[str, ...]:
    args = ["--model-path", serving.model, "--served-model-name", serving.served_name]
    args += ["--dtype", serving.dtype]
    if serving.revision is not None:
        args += ["--revision", serving.revision]
    if serving.max_context is not None:
        args += ["--context-length", str(serving.max_context)]
    return tuple(args)


def _parallelism(asked: Split) -> tuple[str, ...]:
    # Two kinds of data parallelism: whole copies, each on its own GPUs of one pod, or attention
    # only, with the experts spread over all. In the latter the tensor size counts all GPUs.
    attention = asked.data > 1 and (asked.expert or asked.pods > 1)
    tensor = asked.tensor * asked.data if attention else asked.tensor
    args = []
    for flag, size in (
        ("--tensor-parallel-size", tensor),
        ("--pipeline-parallel-size", asked.pipeline),
        ("--data-parallel-size", asked.data),
        ("--expert-parallel-size", tensor if asked.expert else 1),
    ):
        if size > 1:
            args += [flag, str(size)]
    if attention:
        args.append("--enable-dp-attention")
    if asked.pods > 1:
        args += ["--nnodes", str(asked.pods), "--node-rank", WORKER_INDEX]
        args += ["--dist-init-addr", f"{LEADER_ADDRESS}:{MEETING_PORT}"]
    return tuple(args)


def _listen() -> tuple[str, ...]:
    address = "0.0.0.0"  # noqa: S104 - a pod's own address
    return ("--host", address, "--port", str(PORT), "--enable-metrics")


def _parsers(model_id: str) -> tuple[str, ...]:
    found = engines()["sglang"].parsers_of(model_id)
    args = ["--reasoning-parser", found.reasoning] if found.reasoning else []
    return (*args, *(("--tool-call-parser", found.tools) if found.tools else ()))
