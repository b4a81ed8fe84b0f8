"""Split of one model copy over GPUs and pods."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """The split of one model copy over GPUs, or on the CPU over processes.

    Attributes:
        tensor: GPUs that share each layer.
        pipeline: Number of pipeline stages.
        data: Number of data-parallel attention groups, each with its own requests.
        expert: Whether whole experts are distributed, instead of parts of each expert.
        pods: Pods over which the GPUs are distributed evenly.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False
    pods: int = 1

    @property
    def gpus(self) -> int:
        """All GPUs, each with a process."""
        return self.tensor * self.pipeline * self.data

    @property
    def gpus_of_pod(self) -> int:
        """GPUs of each pod."""
        return self.gpus // self.pods


ALONE = Split()
