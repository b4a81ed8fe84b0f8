"""FlashInfer's operators, one kernel each: see models.ops."""

import torch
from flashinfer import silu_and_mul
from flashinfer.norm import fused_add_rmsnorm, rmsnorm
from flashinfer.rope import apply_rope_with_cos_sin_cache_inplace


class FlashInferOps:
    """The operators by FlashInfer: see models.ops.Ops."""

    def norm(self, rows: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """See Ops."""
        normalised: torch.Tensor = rmsnorm(rows, weight, epsilon)
        return normalised

    def add_norm(
        self, added: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> torch.Tensor:
        """See Ops. The norm overwrites `added`."""
        fused_add_rmsnorm(added, residual, weight, epsilon)
        return added

    def gate(self, rows: torch.Tensor) -> torch.Tensor:
        """See Ops."""
        gated: torch.Tensor = silu_and_mul(rows)
        return gated

    def rotate(
        self,
        positions: torch.Tensor,
        parts: tuple[torch.Tensor, torch.Tensor],
        table: torch.Tensor,
        *,
        halves: bool,
    ) -> None:
        """See Ops."""
        apply_rope_with_cos_sin_cache_inplace(
            positions, *parts, parts[0].shape[-1], table, is_neox=halves
        )
