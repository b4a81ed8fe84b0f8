"""How the GPUs of one replica share its model, and how many pods they are in.

GPUs that share every layer (tensor) stay on one node where they can; groups of layers (pipeline)
and of requests (data) are what goes to other nodes first. Every pod has as many GPUs as every other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_operator.api.parallelism import Parallelism
from deepseek_operator.api.spec import Spec
from deepseek_operator.api.status import ResolvedModel
from deepseek_operator.catalog.apis import install_commands
from deepseek_operator.plan.checks import API_MISSING, Refusal
from deepseek_operator.plan.gpus import Gpus
from deepseek_operator.plan.observed import NodeView

UNSUPPORTED_PARALLELISM = "UnsupportedParallelism"
GROUPS = "LeaderWorkerSet"
# GPUs of the nodes that are to come, where there are none to look at.
COMMON_NODE = 8


@dataclass(frozen=True)
class Split:
    """How the GPUs of one replica share its model.

    Attributes:
        tensor: GPUs that share every layer.
        pipeline: Groups of layers.
        expert: GPUs over which whole experts are spread.
        data: Groups that share nothing but experts.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1

    @classmethod
    def of(cls, parallelism: Parallelism | None, tensor: int) -> "Split":
        """The split of a spec with so many GPUs that share every layer."""
        if parallelism is None:
            return cls(tensor)
        return cls(
            tensor, parallelism.pipeline or 1, parallelism.expert or 1, parallelism.data or 1
        )

    @property
    def world(self) -> int:
        """GPUs of one replica, each with a process."""
        return self.tensor * self.pipeline * self.data


ALONE = Split()


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
    for kind in ("pipeline", "expert", "data"):
        size = getattr(parallelism, kind) or 1
        if size > 1:
            instead = " For independent copies write replicas." if kind == "data" else ""
            return Refusal(
                UNSUPPORTED_PARALLELISM,
                f"The bundled server does not do parallelism.{kind} {size}: it splits every layer. "
                f"Write parallelism.tensor with the number of GPUs, and leave {kind} out.{instead}",
            )
    return None


def pods(
    split: Split,
    gpus: Gpus | None,
    together: int,
    nodes: Sequence[NodeView],
    previous: ResolvedModel | None,
) -> int:
    """How many pods a replica has.

    As few as nodes are large enough for; and as many as before while that holds, because a running
    replica must not change with the nodes that come and go. On the CPU each process has a pod.

    Args:
        split: How its GPUs share the model.
        gpus: All of them, None for the CPU.
        together: GPUs that a node is taken to have while there is none to look at.
        nodes: All nodes.
        previous: What was resolved before.
    """
    if gpus is None:
        return split.world
    matching = [gpus.of_node(node) for node in nodes if gpus.match(node) and gpus.of_node(node)]
    largest = max(matching, default=together)
    fitting = [
        number
        for number in range(1, split.world + 1)
        if _even(split, number) and split.world // number <= largest
    ]
    before = previous.pods if previous and previous.tensor_parallel == split.tensor else None
    return before if before in fitting else fitting[0]


def _even(split: Split, number: int) -> bool:
    """Whether so many pods have as many GPUs each, without a layer on parts of two of them."""
    if split.world % number:
        return False
    each = split.world // number
    return each % split.tensor == 0 or split.tensor % each == 0


def groups_are_there(number: int, served: frozenset[str]) -> Refusal | None:
    """Pods that start, fail and move together need an API of their own."""
    if number == 1 or GROUPS in served:
        return None
    return Refusal(
        API_MISSING,
        f"A replica of {number} pods needs the kind {GROUPS}, which this cluster does not have. "
        f"Install it ({install_commands()[GROUPS]}), or choose GPUs that hold the model on one node.",
    )
