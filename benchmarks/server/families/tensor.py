"""A tensor of a checkpoint, and how the numbers in it are drawn.

Random values keep activations near 1 in every layer. No two blocks have the same factors and no
two channels of a norm the same weight, so that one that is read from the wrong place is noticed.
"""

import math
from dataclasses import dataclass

from deepseek_server.models.loading.stored import ELEMENT_BYTES


@dataclass(frozen=True)
class Values:
    """How the numbers of a tensor are drawn: around a mean, normally distributed.

    Attributes:
        scale: the standard deviation.
        mean: the mean.
        dtype: the type, as safetensors names it.
        powers: whether they are rounded to powers of two.
        below: if not 0, they are whole and below this, no two alike of any so many in a row.
    """

    scale: float = 0.0
    mean: float = 0.0
    dtype: str = "BF16"
    powers: bool = False
    below: int = 0


NORM = Values(0.1, mean=1.0)
BIAS = Values(0.1)
# A router's scores lie between 0 and 1: large enough to change choices, too small to make them.
CHOICE_BIAS = Values(0.05, dtype="F32")
# A router with random weights is never sure, so rounding often makes it take another expert. With
# less in each expert that changes a token by some percent instead of by a fifth.
EXPERT_SHARE = 0.35


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint.

    Attributes:
        name: as in the checkpoint.
        shape: as in the checkpoint.
        values: how its numbers are drawn.
    """

    name: str
    shape: tuple[int, ...]
    values: Values

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return self.elements * ELEMENT_BYTES[self.values.dtype]


def linear(name: str, rows: int, columns: int, share: float = 1.0) -> Tensor:
    """Return a projection whose outputs have the variance of its inputs, or a share of it.

    Args:
        name: of the module.
        rows: outputs.
        columns: inputs.
        share: of the standard deviation.
    """
    return Tensor(f"{name}.weight", (rows, columns), Values(share * columns**-0.5))


def norm(name: str, size: int) -> Tensor:
    """Return the weights of a norm."""
    return Tensor(f"{name}.weight", (size,), NORM)
