"""One rank of several, alone: what it keeps and computes, without the others.

A GPU of its own shows so what each of eight does, in memory and in time between two sums over all.
What a model computes like that is no model's: each sum lacks the parts of the others. Only
benchmarks and tests can make such a group; the server's own command line cannot.
"""

from typing import Any

import torch

from deepseek_server.distributed.process_group import Alone


class OneRankAlone(Alone):
    """A group whose other processes are not there: shapes are right, and travelling is free.

    Args:
        rank: The number of this process.
        size: How many processes the model is split over.

    Raises:
        ValueError: There is no such rank.
    """

    def __init__(self, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"there is no rank {rank} of {size}: ranks count from 0")
        self.rank, self.size = rank, size

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See Group; in the place of the others' tensors is this one's."""
        return torch.cat([tensor] * self.size, dim=-1)

    def gather(self, value: object) -> list[Any]:
        """See Group; the others' values are this one's."""
        return [value] * self.size
