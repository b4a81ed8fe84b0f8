"""Modules that keep their weights in fp8, as stored.

They replace transformers' modules in a model on the meta device, wherever this rank's part of a
matrix consists of whole blocks. Other weights are cast to the served type while they are read.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from deepseek_server.distributed.sharding import Part, part
from deepseek_server.kernels.triton.fp8_format import BLOCK, FP8
from deepseek_server.models.layers import fp8
from deepseek_server.models.loading.stored import Stored

_STORED = "F8_E4M3"
# Absorbed latent attention splits kv_b_proj and does not multiply with it. DeepSeek ships
# weights_proj in 16 bits, and it is too small for fp8 to matter.
_CAST = ("kv_b_proj", "indexer.weights_proj")
# cuBLAS requires the rows of fp8 matrices in multiples of this.
_ALIGNED_ROWS = 16


def native(device: torch.device) -> bool:
    """Return whether a device multiplies block-scaled fp8 natively: an H100, H200 or H20."""
    return device.type == "cuda" and bool(torch.cuda.get_device_capability(device) == (9, 0))


class Fp8Linear(nn.Module):  # type: ignore[misc]  # not typed
    """A linear layer in fp8.

    Args:
        rows: number of outputs.
        columns: number of inputs.
        powers: whether the activations' scales are powers of two.
    """

    def __init__(self, rows: int, columns: int, powers: bool) -> None:
        super().__init__()
        self.in_features, self.out_features, self._powers = columns, rows, powers
        self.weight = _parameter(rows, columns, dtype=FP8)
        self.weight_scale_inv = _parameter(fp8.blocks(rows), fp8.blocks(columns))
        self._scale: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [..., inputs] to [..., outputs], in the type of the inputs."""
        flat = inputs.flatten(0, -2)
        if flat.device.type == "cuda":
            out = self._on_gpu(flat)
        else:
            numbers, factors = fp8.quantise(flat, self._powers)
            out = fp8.multiply(numbers, factors, self.weight, self.weight_scale_inv)
        return out.to(inputs.dtype).view(*inputs.shape[:-1], self.out_features)

    def _on_gpu(self, flat: torch.Tensor) -> torch.Tensor:
        from deepseek_server.kernels.triton.fp8 import linear, linear_scale

        if self._scale is None:
            self._scale = linear_scale(self.weight_scale_inv)
        return linear(flat, self.weight, self._scale, self._powers)


class Fp8Experts(nn.Module):  # type: ignore[misc]  # not typed
    """All experts of a layer in fp8; replaces transformers' stacked experts.

    Args:
        experts: the module to replace.
        powers: whether the activations' scales are powers of two.
    """

    def __init__(self, experts: Any, powers: bool) -> None:
        super().__init__()
        self.num_experts, self._powers, self.act_fn = experts.num_experts, powers, experts.act_fn
        for name in ("gate_up_proj", "down_proj"):
            count, rows, columns = getattr(experts, name).shape
            scales = _parameter(count, fp8.blocks(rows), fp8.blocks(columns))
            setattr(self, name, _parameter(count, rows, columns, dtype=FP8))
            setattr(self, f"{name}_scale_inv", scales)

    def forward(
        self, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of the outputs of each token's experts.

        Args:
            hidden: [tokens, hidden size].
            chosen: The experts of each token: [tokens, k].
            weights: Their weights: [tokens, k].

        Returns:
            [tokens, hidden size].
        """
        if hidden.device.type == "cuda":
            return self._on_gpu(hidden, chosen, weights)
        spread = self._one_by_one(hidden, chosen).view(*chosen.shape, -1)
        return (spread * weights.unsqueeze(-1)).sum(1).to(hidden.dtype)

    def warm(self, dtype: torch.dtype) -> None:
        """Compile or load every kernel that may be needed, so that no request waits for it.

        Args:
            dtype: type of the activations.
        """
        from deepseek_server.kernels.triton.fp8 import warm  # needs a GPU's libraries

        warm(self.gate_up_proj, self.gate_up_proj_scale_inv, dtype, self._powers)

    def _on_gpu(
        self, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        from deepseek_server.kernels.triton.fp8 import multiply_experts  # needs a GPU's libraries
        from deepseek_server.kernels.triton.rows import rows

        listed, k = rows(chosen, self.num_experts), chosen.shape[1]
        gate_up, down = self.gate_up_proj, self.down_proj
        scales = self.gate_up_proj_scale_inv, self.down_proj_scale_inv
        inner = multiply_experts(hidden, listed, k, gate_up, scales[0], self._powers)
        gated = self._apply_gate(inner)
        spread = multiply_experts(gated, listed, 1, down, scales[1], self._powers, weights)
        return spread.view(*chosen.shape, -1).sum(1)

    def _one_by_one(self, hidden: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        pairs = hidden.new_empty(chosen.numel(), hidden.shape[1], dtype=torch.float32)
        tokens = hidden.repeat_interleave(chosen.shape[1], 0)
        for expert in chosen.unique().tolist():
            mine = (chosen.flatten() == expert).nonzero()[:, 0]
            inner = self._multiply(tokens[mine], "gate_up_proj", expert).to(hidden.dtype)
            pairs[mine] = self._multiply(self._apply_gate(inner), "down_proj", expert)
        return pairs

    def _multiply(self, inputs: torch.Tensor, name: str, expert: int) -> torch.Tensor:
        weight, scale = getattr(self, name)[expert], getattr(self, f"{name}_scale_inv")[expert]
        return fp8.multiply(*fp8.quantise(inputs, self._powers), weight, scale)

    def _apply_gate(self, inner: torch.Tensor) -> torch.Tensor:
        """Apply the gate; models.layers.fused replaces it by one kernel, as in transformers' experts."""
        gate, up = inner.chunk(2, dim=-1)
        gated: torch.Tensor = self.act_fn(gate) * up
        return gated


def keep(
    model: PreTrainedModel, stored: Mapping[str, Stored], powers: bool, rank: int, size: int
) -> int:
    """Replace the modules of a model that can multiply in fp8, so that they keep their fp8 weights.

    Args:
        model: A model on the meta device, not yet split.
        stored: The tensors of the checkpoint by name.
        powers: Whether the activations' scales are powers of two.
        rank: This process's rank in the tensor-parallel group.
        size: Number of ranks in the group.

    Returns:
        The number of replaced modules.
    """
    replaced = 0
    for path, module in list(model.named_modules()):
        new: nn.Module | None = None
        if isinstance(module, nn.Linear):
            if _linear_fits(path, module, stored, rank, size):
                new = Fp8Linear(module.out_features, module.in_features, powers)
        elif path.endswith(".mlp.experts") and _experts_fit(path, module, stored, rank, size):
            new = Fp8Experts(module, powers)
        if new is not None:
            model.set_submodule(path, new)
            replaced += 1
    return replaced


def _linear_fits(
    path: str, module: nn.Linear, stored: Mapping[str, Stored], rank: int, size: int
) -> bool:
    name = f"{path}.weight"
    if name not in stored or stored[name].dtype != _STORED or path.endswith(_CAST):
        return False
    kept = part(name, tuple(module.weight.shape), rank, size)
    return module.bias is None and _whole_blocks(kept, tuple(module.weight.shape))


def _experts_fit(
    path: str, module: Any, stored: Mapping[str, Stored], rank: int, size: int
) -> bool:
    first = stored.get(f"{path}.0.gate_proj.weight")
    if first is None or first.dtype != _STORED:
        return False
    # The boundary between gate and up projections of a stack must lie between blocks.
    if first.shape[0] % BLOCK:
        return False
    shapes = {n: tuple(getattr(module, n).shape) for n in ("gate_up_proj", "down_proj")}
    return all(
        _whole_blocks(part(f"{path}.{name}", shape, rank, size), shape)
        for name, shape in shapes.items()
    )


def _whole_blocks(kept: Part, shape: tuple[int, ...]) -> bool:
    """Return whether a part consists of whole blocks of rows and columns.

    The last rows of the matrix may be an incomplete block.
    """
    rows = shape[-2]
    ends = all(r.start % BLOCK == 0 and (r.stop % BLOCK == 0 or r.stop == rows) for r in kept.rows)
    columns = kept.columns.start % BLOCK == 0 and len(kept.columns) % BLOCK == 0
    return ends and columns and kept.shape[0] % _ALIGNED_ROWS == 0


def _parameter(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"), requires_grad=False)
