"""A tensor of a checkpoint, and the distribution of its values.

Random values keep activations near 1 in every layer. No two blocks have the same scale and no two
channels of a norm the same weight, so that reading one from the wrong place is detected.
"""

import math
from dataclasses import dataclass

from deepseek_server.models.loading.stored import ELEMENT_BYTES


@dataclass(frozen=True)
class Values:
    """The normal distribution of a tensor's values.

    Attributes:
        scale: the standard deviation.
        mean: the mean.
        dtype: the type, as named by safetensors.
        powers: whether values are rounded to powers of two.
        below: if not 0, values are integers below this, and any `below` consecutive ones differ.
    """

    scale: float = 0.0
    mean: float = 0.0
    dtype: str = "BF16"
    powers: bool = False
    below: int = 0


NORM = Values(0.1, mean=1.0)
BIAS = Values(0.1)
# A router's scores are between 0 and 1: the bias is large enough to change selections, but too
# small to decide them alone.
CHOICE_BIAS = Values(0.05, dtype="F32")
# A router with random weights is never certain, so rounding often makes it select another expert.
# With smaller experts that changes a token by a few percent instead of by a fifth.
EXPERT_SHARE = 0.35


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint.

    Attributes:
        name: its name in the checkpoint.
        shape: its shape in the checkpoint.
        values: distribution of its values.
    """

    name: str
    shape: tuple[int, ...]
    values: Values

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.elements * ELEMENT_BYTES[self.values.dtype]


def linear(name: str, rows: int, columns: int, share: float = 1.0) -> Tensor:
    """Return a projection whose outputs have the spread of its inputs, or a share of it.

    Args:
        name: name of the module.
        rows: number of outputs.
        columns: number of inputs.
        share: factor of the standard deviation.
    """
    return Tensor(f"{name}.weight", (rows, columns), Values(share * columns**-0.5))


def norm(name: str, size: int) -> Tensor:
    """Return the weights of a norm."""
    return Tensor(f"{name}.weight", (size,), NORM)
