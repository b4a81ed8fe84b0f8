"""How one copy of a model is spread over GPUs and pods."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """How one copy of a model is spread over GPUs, or on the CPU over processes.

    Attributes:
        tensor: Those that share each layer.
        pipeline: Groups that have some of the layers each.
        data: Groups that have the attention of all layers each, for requests of their own.
        expert: Whether whole experts are spread, and not parts of each expert.
        pods: Pods over which they are spread evenly.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False
    pods: int = 1

    @property
    def gpus(self) -> int:
        """All of them, each with a process."""
        return self.tensor * self.pipeline * self.data

    @property
    def gpus_of_pod(self) -> int:
        """Those of each pod."""
        return self.gpus // self.pods


ALONE = Split()
