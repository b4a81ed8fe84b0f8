"""One rank of a tensor-parallel group, run alone without the others.

A single GPU thus shows the memory of each of eight ranks and its time between two all-reduces. The
results of such a model are meaningless, because each sum lacks the parts of the others. Only
benchmarks and tests can create such a group; the server's own command line cannot.
"""

from typing import Any

import torch

from deepseek_server.distributed.process_group import SingleProcessGroup


class OneRankAlone(SingleProcessGroup):
    """A group whose other ranks are absent: shapes are right, and communication costs nothing.

    Args:
        rank: This process's rank.
        size: Number of ranks that the model is split over.

    Raises:
        ValueError: The rank is not in the group.
    """

    def __init__(self, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"rank {rank} is not in a group of {size}: ranks are numbered from 0")
        self.rank, self.size = rank, size

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group; this rank's tensor stands in for the others'."""
        return torch.cat([tensor] * self.size, dim=-1)

    def all_gather_object(self, value: object) -> list[Any]:
        """See Group; this rank's value stands in for the others'."""
        return [value] * self.size
