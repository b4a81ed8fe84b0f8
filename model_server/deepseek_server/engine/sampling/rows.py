"""Some rows of a batch, for what only these want."""

from collections.abc import Sequence

import torch


class Rows:
    """Takes rows out of tensors and puts them back; where all rows are meant, nothing is copied.

    Args:
        numbers: which rows, in order.
        total: rows of the batch.
        index: the same numbers on the device, integers of any width.
    """

    def __init__(self, numbers: Sequence[int], total: int, index: torch.Tensor) -> None:
        self.numbers, self.total = list(numbers), total
        self.index: torch.Tensor | None = None if len(numbers) == total else index.long()

    def take(self, whole: torch.Tensor) -> torch.Tensor:
        """These rows; the tensor itself where they are all."""
        return whole if self.index is None else whole[self.index]

    def put(self, whole: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The tensor with these rows in place of its own; it may be changed for that."""
        return rows if self.index is None else whole.index_copy_(0, self.index, rows)

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """What was computed of these rows at their places among all; zeros at the others."""
        if self.index is None:
            return rows
        return rows.new_zeros(self.total, *rows.shape[1:]).index_copy_(0, self.index, rows)
