"""Fused kernels for a model: the same arithmetic with fewer launches and memory accesses.

A decode step reads every weight once and does little else, so the cost of the small operations
between two matrix products is the number of kernels that they launch. Here each of these runs as
one kernel: norms with the preceding addition, rotary embedding of queries and keys, the gate of an
MLP; and projections of the same input become one product. On a CPU, the number of operators
shrinks in the same way. Modules keep their classes and weights; only their forwards change.
"""

from copy import copy
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from deepseek_server.attention.base import Attention
from deepseek_server.models.layers import mla, router
from deepseek_server.models.layers.fp8_modules import Fp8Experts
from deepseek_server.models.layers.ops import Ops, ops_for

# The residual stream and the pending addition to it, between two layers.
Stream = tuple[torch.Tensor, torch.Tensor]


def fuse(model: PreTrainedModel, context: int) -> None:
    """Make a model on the paged cache run with fused kernels.

    Args:
        model: a model that supports the paged cache (models.runners.paged.fits); 16-bit on a GPU.
        context: tokens of the longest sequence.
    """
    ops = ops_for(model.device)
    rotation = Rotation(model, context, ops)
    if model.device.type == "cuda":
        _fuse_experts(model)
        for module in model.modules():
            router.fuse(module)
    for module in list(model.modules()):
        if _is_norm(module):
            module.ops = ops
            module.forward = MethodType(_norm, module)
        elif all(isinstance(getattr(module, n, None), nn.Linear) for n in ("gate_proj", "up_proj")):
            module.ops = ops
            module.gate_up = _stacked(module.gate_proj, module.up_proj)
            module.forward = MethodType(_mlp, module)
        elif hasattr(module, "_apply_gate"):
            module._apply_gate = ops.gate
    for layer in model.model.layers:
        layer.forward = MethodType(_layer, layer)
        attention = layer.self_attn
        attention.rotation = rotation
        if mla.latent_heads(attention) is None:
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            attention.qkv_sizes = [projection.out_features for projection in projections]
            attention.qkv = _stacked(*projections)
            attention.forward = MethodType(_attention, attention)
        if hasattr(attention, "indexer"):
            attention.indexer.rotation = rotation.of_halves()
    model.model.norm.forward = MethodType(_last_norm, model.model.norm)


def run(
    model: PreTrainedModel, embeddings: torch.Tensor, paged: Attention, positions: torch.Tensor
) -> torch.Tensor:
    """Run a fused model without its head; `paged.plan` must have been called for the step.

    Args:
        model: the model.
        embeddings: [tokens, hidden].
        paged: attention over the paged cache.
        positions: [tokens].

    Returns:
        [tokens, hidden].
    """
    stream: torch.Tensor | Stream = embeddings[None]
    for layer in model.model.layers:
        stream = layer.forward(stream, paged=paged, positions=positions)
    hidden: torch.Tensor = model.model.norm.forward(stream)
    return hidden[0]


def _fuse_experts(model: PreTrainedModel) -> None:
    """Make the experts of all layers, which have the same shape, run on the best kernels for it."""
    from deepseek_server.kernels.triton import mixture  # needs Triton
    from deepseek_server.models.layers import experts

    every = (getattr(layer.mlp, "experts", None) for layer in model.model.layers)
    first = next((one for one in every if one is not None), None)
    if first is None:
        return
    if isinstance(first, Fp8Experts):
        first.warm(model.dtype)
    elif experts.suitable(first.down_proj):
        model.set_experts_implementation(experts.register())
        mixture.warm(first.gate_up_proj, first.down_proj)
    else:
        model.set_experts_implementation("grouped_mm")


class Rotation:
    """Rotary embedding with a precomputed table of all positions.

    Args:
        model: the model whose rotary embedding fills the table.
        context: number of positions in the table.
        ops: the operators that rotate.
    """

    def __init__(self, model: PreTrainedModel, context: int, ops: Ops) -> None:
        self._ops = ops
        config, device = model.config, model.device
        positions = torch.arange(context, device=device)[None]
        angles = model.model.rotary_emb(torch.empty(0, device=device), positions)
        if isinstance(angles, torch.Tensor):  # complex numbers (V2)
            cos, sin = angles.real, angles.imag
            interleaved = True
        else:
            width = angles[0].shape[-1] // 2
            cos, sin = (part[..., :width] for part in angles)
            interleaved = mla.rotates_neighbours(config)
        self._halves = not interleaved
        self._table = torch.cat((cos, sin), dim=-1)[0].float().contiguous()

    def of_halves(self) -> "Rotation":
        """Return the same rotation for pairs made of the two halves, not of neighbouring values."""
        other = copy(self)
        other._halves = True
        return other

    def __call__(self, positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> None:
        """Rotate in place.

        Args:
            positions: [tokens].
            query: [tokens, heads, width].
            key: [tokens, heads, width].
        """
        self._ops.rotate(positions, (query, key), self._table, halves=self._halves)


def _is_norm(module: nn.Module) -> bool:
    return type(module).__name__.endswith("RMSNorm")


def _stacked(*projections: nn.Linear) -> nn.Linear:
    """Return one projection for several of the same input; their weights become views of it."""
    first = projections[0]
    sizes = [projection.out_features for projection in projections]
    with torch.device(first.weight.device):
        whole = nn.Linear(
            first.in_features, sum(sizes), bias=first.bias is not None, dtype=first.weight.dtype
        )
    for name in ("weight", "bias") if first.bias is not None else ("weight",):
        joined = torch.cat([getattr(projection, name).data for projection in projections])
        getattr(whole, name).data = joined
        for projection, part in zip(projections, joined.split(sizes), strict=True):
            getattr(projection, name).data = part
    return whole.requires_grad_(False)


def _norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    rows = hidden_states.reshape(-1, hidden_states.shape[-1])
    normalised: torch.Tensor = self.ops.norm(rows, self.weight, self.variance_epsilon)
    return normalised.view(hidden_states.shape)


def add_and_norm(norm: Any, stream: torch.Tensor | Stream) -> Stream:
    """Apply the pending addition to the residual stream; return the stream and its norm."""
    if isinstance(stream, torch.Tensor):  # the embeddings, before the first layer
        return stream, norm(stream)
    residual, added = stream
    normalised = norm.ops.add_norm(added[0], residual[0], norm.weight, norm.variance_epsilon)
    return residual, normalised[None]


def _last_norm(self: Any, hidden_states: torch.Tensor | Stream) -> torch.Tensor:
    if isinstance(hidden_states, torch.Tensor):
        return _norm(self, hidden_states)
    return add_and_norm(self, hidden_states)[1]


def _layer(self: Any, hidden_states: torch.Tensor | Stream, **arguments: Any) -> Stream:
    residual, hidden = add_and_norm(self.input_layernorm, hidden_states)
    hidden, _ = self.self_attn(hidden_states=hidden, **arguments)
    residual, hidden = add_and_norm(self.post_attention_layernorm, (residual, hidden))
    return residual, self.mlp(hidden)


def _mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    hidden: torch.Tensor = self.down_proj(self.ops.gate(self.gate_up(x)))
    return hidden


def _attention(
    self: Any,
    hidden_states: torch.Tensor,
    *,
    paged: Attention,
    positions: torch.Tensor,
    **_: object,
) -> tuple[torch.Tensor, None]:
    mixed = paged.grouped(self.layer_idx, *inputs(self, hidden_states[0], positions))
    return self.o_proj(mixed.flatten(1)).unsqueeze(0), None


def inputs(
    module: Any, hidden: torch.Tensor, positions: torch.Tensor, out: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inputs of grouped-query attention of a fused module.

    Args:
        module: the attention module.
        hidden: [tokens, hidden].
        positions: [tokens].
        out: optional output buffer for queries, keys and values side by side.

    Returns:
        Queries, [tokens, heads, dim], keys and values, [tokens, kv_heads, dim].
    """
    weight, bias = module.qkv.weight.t(), module.qkv.bias
    plain = bias is None
    rows = (
        torch.mm(hidden, weight, out=out) if plain else torch.addmm(bias, hidden, weight, out=out)
    )
    query, key, value = (
        part.unflatten(1, (-1, module.head_dim)) for part in rows.split(module.qkv_sizes, dim=1)
    )
    if hasattr(module, "q_norm"):
        query.copy_(module.q_norm(query))
        key.copy_(module.k_norm(key))
    module.rotation(positions, query, key)
    return query, key, value
