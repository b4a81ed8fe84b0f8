"""Multi-head latent attention with its up-projections absorbed.

transformers expands the latent of every cached token into keys and values of all heads in each
step. Moving the query into latent space instead, and the result back out of it, is equivalent:
`q (W c) = (q W) c`. Attention then works on the cached latents themselves, 576 numbers per token
and layer in DeepSeek-V3 instead of 40,960.

Only the forward of the attention modules is replaced. Projections, norms and rotary embedding stay
those of the model's class.
"""

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as v32

from deepseek_server.attention.base import Attention, LatentHeads, SparseHeads


def latent_heads(module: nn.Module) -> LatentHeads | None:
    """Return the heads of a latent attention module, None for any other module."""
    if not isinstance(
        module, v2.DeepseekV2Attention | v3.DeepseekV3Attention | v32.DeepseekV32Attention
    ):
        return None
    common = {
        "heads": module.num_heads,
        "kv_lora_rank": module.kv_lora_rank,
        "qk_rope_head_dim": module.qk_rope_head_dim,
        "scale": module.scaling,
    }
    if isinstance(module, v32.DeepseekV32Attention):
        indexer = module.indexer
        return SparseHeads(
            **common,
            index_heads=indexer.n_heads,
            index_dim=indexer.head_dim,
            topk=indexer.index_topk,
        )
    return LatentHeads(**common)


def absorb(model: PreTrainedModel) -> None:
    """Make a model's latent attention run on the paged cache that its forward receives.

    Sparse attention has a separate forward (models.layers.sparse).
    """
    for module in model.modules():
        heads = latent_heads(module)
        if heads is not None and not isinstance(heads, SparseHeads):
            module.forward = MethodType(_forward, module)


def rotates_neighbours(config: PreTrainedConfig) -> bool:
    """Return whether rotary embedding pairs neighbouring values, as in V3 and later models.

    Otherwise it pairs the two halves.
    """
    # V3.2 always does and has no field for it.
    return config.model_type == "deepseek_v32" or bool(getattr(config, "rope_interleave", False))


def _forward(
    self: Any,
    hidden_states: torch.Tensor,
    *,
    paged: Attention,
    positions: torch.Tensor,
    position_embeddings: Any = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    query, latent = inputs(self, hidden_states[0], positions, position_embeddings)
    mixed = paged.latent(self.layer_idx, query, latent)
    return output(self, mixed).unsqueeze(0), None


def inputs(
    module: Any,
    hidden: torch.Tensor,
    positions: torch.Tensor,
    position_embeddings: Any = None,
    out: Sequence[torch.Tensor | None] = (None, None),
    low_rank_query: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inputs of latent attention.

    Args:
        module: the attention module.
        hidden: [tokens, hidden].
        positions: for a fused module (see models.layers.fused): [tokens].
        position_embeddings: for any other module, as transformers computes them.
        out: optional output buffers of both results.
        low_rank_query: result of `low_rank`, if it is already computed.

    Returns:
        Queries in latent space, [tokens, heads, kv_lora_rank + qk_rope_head_dim], and latents,
        [tokens, kv_lora_rank + qk_rope_head_dim].
    """
    if low_rank_query is None:
        low_rank_query = low_rank(module, hidden)
    query = _query(module, low_rank_query).view(
        hidden.shape[0], module.num_heads, module.qk_head_dim
    )
    latent, key_rope = module.kv_a_proj_with_mqa(hidden).split(
        [module.kv_lora_rank, module.qk_rope_head_dim], dim=-1
    )
    query, query_rope = query.split([module.qk_nope_head_dim, module.qk_rope_head_dim], dim=-1)
    key_rope = key_rope[:, None]
    if hasattr(module, "rotation"):
        module.rotation(positions, query_rope, key_rope)
    else:
        query_rope, key_rope = _rotate(module, query_rope, key_rope, position_embeddings)
    up_key = _up(module)[:, : module.qk_nope_head_dim]
    rank = module.kv_lora_rank
    moved = out[0]
    if moved is None:
        moved = query.new_empty(*query.shape[:2], rank + module.qk_rope_head_dim)
    # Write the product in place: at 128 heads a copy takes as long as the product.
    torch.bmm(query.transpose(0, 1), up_key, out=moved[..., :rank].transpose(0, 1))
    moved[..., rank:].copy_(query_rope)
    return (
        moved,
        torch.cat((module.kv_a_layernorm(latent), key_rope[:, 0]), dim=-1, out=out[1]),
    )


def output(module: Any, mixed: torch.Tensor) -> torch.Tensor:
    """Return the module's output, which is added to the residual stream: [tokens, hidden].

    Args:
        module: the attention module.
        mixed: weighted sums of latents, [tokens, heads, kv_lora_rank].
    """
    up_value = _up(module)[:, module.qk_nope_head_dim :]
    value = mixed.new_empty(len(mixed), module.num_heads, up_value.shape[1])
    torch.bmm(mixed.transpose(0, 1), up_value.transpose(1, 2), out=value.transpose(0, 1))
    added: torch.Tensor = module.o_proj(value.flatten(1))
    return added


def _up(module: Any) -> torch.Tensor:
    """Return the up-projection: [heads, nope + value, kv_lora_rank], key rows of a head first."""
    weight: torch.Tensor = module.kv_b_proj.weight
    return weight.view(module.num_heads, -1, module.kv_lora_rank)


def low_rank(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return the low-rank query input: [tokens, q_lora_rank], or `hidden` if there is no rank."""
    if module.q_lora_rank is None:  # the Lite models
        return hidden
    normalised: torch.Tensor = module.q_a_layernorm(module.q_a_proj(hidden))
    return normalised


def _query(self: Any, low_rank_query: torch.Tensor) -> torch.Tensor:
    if self.q_lora_rank is None:
        return self.q_proj(low_rank_query)
    return self.q_b_proj(low_rank_query)


def _rotate(
    self: Any, query: torch.Tensor, key: torch.Tensor, position_embeddings: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply rotary embedding to [tokens, heads, rope] with the function of the module's class."""
    # Those functions take [batch, heads, tokens, rope].
    query, key = query.transpose(0, 1)[None], key.transpose(0, 1)[None]
    if isinstance(self, v2.DeepseekV2Attention):
        query, key = v2.apply_rotary_emb(query, key, position_embeddings)
    elif rotates_neighbours(self.config):
        query, key = v3.apply_rotary_pos_emb_interleave(query, key, *position_embeddings)
    else:
        query, key = v3.apply_rotary_pos_emb(query, key, *position_embeddings)
    return query[0].transpose(0, 1), key[0].transpose(0, 1)
