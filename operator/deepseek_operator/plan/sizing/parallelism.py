"""Parallelism of a replica: how its GPUs share the model, and over how many pods they are spread.

Tensor-parallel GPUs, which share every layer, stay on one node if possible; pipeline stages and
data-parallel groups are spread over nodes first. All pods of a replica have the same number of GPUs.
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
# Assumed GPUs of a node while no matching node exists.
COMMON_NODE = 8


def split(parallelism: Parallelism | None, shared: int) -> Split:
    """Return the split of a spec in one pod, with `shared` GPUs that share every layer."""
    if parallelism is None:
        return Split(shared)
    whole = (parallelism.expert or 1) > 1
    return Split(shared, parallelism.pipeline or 1, parallelism.data or 1, whole)


def tensor(spec: Spec) -> int | None:
    """Return the number of GPUs that share every layer, None for as few as the model fits on."""
    parallelism = spec.parallelism
    count = spec.accelerator.count if spec.accelerator else None
    if parallelism is None:
        return count
    return parallelism.tensor or (count // parallelism.others if count else None)


def possible(spec: Spec) -> Refusal | None:
    """Refuse parallelism that the engine or the number of GPUs does not allow."""
    parallelism = spec.parallelism
    if parallelism is None:
        return None
    count = spec.accelerator.count if spec.accelerator else None
    if count and not parallelism.tensor and count % parallelism.others:
        return Refusal(
            UNSUPPORTED_PARALLELISM,
            f"accelerator.count {count} is not divisible by parallelism.pipeline x "
            f"parallelism.data ({parallelism.others}). Set a multiple of {parallelism.others}.",
        )
    problem = beyond(spec, split(parallelism, parallelism.tensor or 1))
    if problem is None:
        return None
    instead = " For independent copies of the model set replicas." if parallelism.data else ""
    return Refusal(UNSUPPORTED_PARALLELISM, f"{problem}{instead}")


def pods(
    asked: Split,
    gpus: Gpus | None,
    together: int,
    nodes: Sequence[NodeView],
    previous: ResolvedModel | None,
) -> int:
    """Return the number of pods of a replica.

    As few as the largest node allows; the earlier number is kept while it is possible, because a running
    replica must not change as nodes come and go. On the CPU each process has a pod.

    Args:
        asked: The split of the model.
        gpus: All GPUs of the replica, None for the CPU.
        together: Assumed GPUs of a node while no matching node exists.
        nodes: All nodes.
        previous: The sizing resolved before.
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
    """Tell whether the GPUs divide evenly over the pods, aligned with the tensor-parallel groups."""
    if asked.gpus % number:
        return False
    each = asked.gpus // number
    return each % asked.tensor == 0 or asked.tensor % each == 0


def groups_are_there(number: int, served: frozenset[str]) -> Refusal | None:
    """Refuse multi-pod replicas if the cluster lacks LeaderWorkerSet."""
    if number == 1 or GROUPS in served:
        return None
    return Refusal(
        API_MISSING,
        f"A replica of {number} pods needs the kind {GROUPS}, which is not installed in this cluster. "
        f"Install it ({install_commands()[GROUPS]}), or choose GPUs that hold the model on one node.",
    )
