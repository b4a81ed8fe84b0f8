"""How the GPUs of one replica share its model, and how many pods they are in.

GPUs that share every layer (tensor) stay on one node where they can; groups of layers (pipeline)
and of requests (data) are what goes to other nodes first. Every pod has as many GPUs as every other.
"""

from collections.abc import Sequence

from deepseek_operator.api.parallelism import Parallelism
from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import ResolvedModel
from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.engines.limits import beyond
from deepseek_operator.plan.sizing.gpus import Gpus
from deepseek_operator.plan.state.observed import NodeView
from deepseek_operator.plan.state.refusal import API_MISSING, Refusal
from deepseek_operator.plan.state.split import Split

UNSUPPORTED_PARALLELISM = "UnsupportedParallelism"
GROUPS = "LeaderWorkerSet"
# GPUs of the nodes that are to come, where there are none to look at.
COMMON_NODE = 8


def split(parallelism: Parallelism | None, shared: int) -> Split:
    """The split of a spec with so many GPUs that share every layer, in one pod."""
    if parallelism is None:
        return Split(shared)
    whole = (parallelism.expert or 1) > 1
    return Split(shared, parallelism.pipeline or 1, parallelism.data or 1, whole)


def tensor(spec: Spec) -> int | None:
    """GPUs that are to share every layer, None for as few as the model fits on."""
    parallelism = spec.parallelism
    count = spec.accelerator.count if spec.accelerator else None
    if parallelism is None:
        return count
    return parallelism.tensor or (count // parallelism.others if count else None)


def possible(spec: Spec) -> Refusal | None:
    """What the engine can't do with several GPUs, and what can."""
    parallelism = spec.parallelism
    if parallelism is None:
        return None
    count = spec.accelerator.count if spec.accelerator else None
    if count and not parallelism.tensor and count % parallelism.others:
        return Refusal(
            UNSUPPORTED_PARALLELISM,
            f"accelerator.count {count} can't be shared by parallelism.pipeline x data, which is "
            f"{parallelism.others}. Write a multiple of {parallelism.others}.",
        )
    said = beyond(spec, split(parallelism, parallelism.tensor or 1))
    if said is None:
        return None
    instead = " For independent copies of a model write replicas." if parallelism.data else ""
    return Refusal(UNSUPPORTED_PARALLELISM, f"{said}{instead}")


def pods(
    asked: Split,
    gpus: Gpus | None,
    together: int,
    nodes: Sequence[NodeView],
    previous: ResolvedModel | None,
) -> int:
    """How many pods a replica has.

    As few as nodes are large enough for; and as many as before while that holds, because a running
    replica must not change with the nodes that come and go. On the CPU each process has a pod.

    Args:
        asked: How its GPUs share the model.
        gpus: All of them, None for the CPU.
        together: GPUs that a node is taken to have while there is none to look at.
        nodes: All nodes.
        previous: What was resolved before.
    """
    if gpus is None:
        return asked.gpus
    matching = [gpus.of_node(node) for node in nodes if gpus.match(node) and gpus.of_node(node)]
    largest = max(matching, default=together)
    fitting = [
        number
        for number in range(1, asked.gpus + 1)
        if _even(asked, number) and asked.gpus // number <= largest
    ]
    before = previous.pods if previous and previous.tensor_parallel == asked.tensor else None
    return before if before in fitting else fitting[0]


def _even(asked: Split, number: int) -> bool:
    """Whether so many pods have as many GPUs each, without a layer on parts of two of them."""
    if asked.gpus % number:
        return False
    each = asked.gpus // number
    return each % asked.tensor == 0 or asked.tensor % each == 0


def groups_are_there(number: int, served: frozenset[str]) -> Refusal | None:
    """Pods that start, fail and move together need an API of their own."""
    if number == 1 or GROUPS in served:
        return None
    return Refusal(
        API_MISSING,
        f"A replica of {number} pods needs the kind {GROUPS}, which this cluster does not have. "
        f"Install it ({install_commands()[GROUPS]}), or choose GPUs that hold the model on one node.",
    )
