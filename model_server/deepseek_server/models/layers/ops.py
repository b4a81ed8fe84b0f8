"""Operators between the matrix products of a fused model (models.layers.fused), by FlashInfer or torch.

The torch operators are the reference, and the ones that a CPU runs: there a step of a small model
is mostly Python and small operators, so fewer operators matter as much as fewer kernels on a GPU.
"""

from typing import Protocol

import torch
from torch.nn.functional import rms_norm, silu


class Ops(Protocol):
    """Operators over rows of tokens."""

    def norm(self, rows: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Return the RMS norm of each row: [rows, n]."""

    def add_norm(
        self, added: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """Add to the residual in place and return the norm of the sum; all [rows, n].

        The content of `added` may be overwritten.
        """

    def gate(self, rows: torch.Tensor) -> torch.Tensor:
        """Return silu of the first half of each row times the second: [..., 2 n] to [..., n]."""

    def rotate(
        self,
        positions: torch.Tensor,
        parts: tuple[torch.Tensor, torch.Tensor],
        table: torch.Tensor,
        *,
        halves: bool,
    ) -> None:
        """Apply rotary embedding to queries and keys, in place.

        Args:
            positions: [tokens].
            parts: [tokens, heads, width] each.
            table: cosines, then sines, of each position: [positions, width].
            halves: whether a pair consists of a value of the first half and one of the second;
                otherwise of neighbouring values.
        """


def ops_for(device: torch.device) -> Ops:
    """Return the operators for a device; on a GPU, FlashInfer must be usable."""
    if device.type == "cuda":
        from deepseek_server.models.layers.ops_flashinfer import FlashInferOps

        return FlashInferOps()
    return TorchOps()


class TorchOps:
    """The operators in torch: see Ops."""

    def __init__(self) -> None:
        self._positions: torch.Tensor | None = None
        self._angles: tuple[torch.Tensor, ...] = ()

    def norm(self, rows: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """See Ops."""
        return rms_norm(rows, weight.shape, weight, epsilon)

    def add_norm(
        self, added: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """See Ops."""
        return rms_norm(residual.add_(added), weight.shape, weight, epsilon)

    def gate(self, rows: torch.Tensor) -> torch.Tensor:
        """See Ops."""
        gates, values = rows.chunk(2, dim=-1)
        return silu(gates).mul_(values)

    def rotate(
        self,
        positions: torch.Tensor,
        parts: tuple[torch.Tensor, torch.Tensor],
        table: torch.Tensor,
        *,
        halves: bool,
    ) -> None:
        """See Ops."""
        if positions is not self._positions:  # all layers of a step share them
            self._positions = positions
            self._angles = table[positions][:, None].to(parts[0].dtype).chunk(2, dim=-1)
        cos, sin = self._angles
        for part in parts:
            pairs = part.chunk(2, dim=-1) if halves else part.unflatten(-1, (-1, 2)).unbind(-1)
            turned = pairs[0] * cos - pairs[1] * sin, pairs[1] * cos + pairs[0] * sin
            for place, value in zip(pairs, turned, strict=True):
                place.copy_(value)
