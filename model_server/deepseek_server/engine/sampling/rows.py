"""A subset of the rows of a batch."""

from collections.abc import Sequence

import torch


class Rows:
    """Takes rows out of tensors and puts them back, without copies if the subset is all rows.

    Args:
        numbers: the row numbers, in order.
        total: number of rows of the batch.
        index: the row numbers on the device, integers of any width.
    """

    def __init__(self, numbers: Sequence[int], total: int, index: torch.Tensor) -> None:
        self.numbers, self.total = list(numbers), total
        self.index: torch.Tensor | None = None if len(numbers) == total else index.long()

    def take(self, whole: torch.Tensor) -> torch.Tensor:
        """Return these rows; the tensor itself if they are all."""
        return whole if self.index is None else whole[self.index]

    def put(self, whole: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the tensor with these rows replaced; may change it in place."""
        return rows if self.index is None else whole.index_copy_(0, self.index, rows)

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """Return values of these rows at their positions in the batch, with zeros elsewhere."""
        if self.index is None:
            return rows
        return rows.new_zeros(self.total, *rows.shape[1:]).index_copy_(0, self.index, rows)
