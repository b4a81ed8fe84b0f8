"""Multi-head latent attention with its up-projections absorbed.

transformers expands the latent of every cached token into keys and values of all heads, each step
anew. The same numbers come out when the query is moved into the space of the latents instead, and
the result back out of it: `q (W c) = (q W) c`. Then attention works on the latents as they are in
the cache, 576 numbers for a token and layer in DeepSeek-V3 in place of 40,960.

Only the forward of the attention modules is replaced. Projections, norms and rotation stay those
of the model's class.
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
    """The heads of a latent attention module, None for any other module."""
    if not isinstance(
        module, v2.DeepseekV2Attention | v3.DeepseekV3Attention | v32.DeepseekV32Attention
    ):
        return None
    common = {
        "heads": module.num_heads,
        "rank": module.kv_lora_rank,
        "rope": module.qk_rope_head_dim,
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
    """Let a model's latent attention run on the paged cache that its forward is given.

    Sparse attention has a forward of its own (models.layers.sparse).
    """
    for module in model.modules():
        heads = latent_heads(module)
        if heads is not None and not isinstance(heads, SparseHeads):
            module.forward = MethodType(_forward, module)


def rotates_neighbours(config: PreTrainedConfig) -> bool:
    """Return whether latent attention rotates neighbouring values, of V3 and what came after it.

    It rotates halves against each other otherwise.
    """
    # V3.2 leaves no choice, nor has a field for it.
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
    """What latent attention works on.

    Args:
        module: the attention module.
        hidden: [tokens, hidden].
        positions: for a module that has kernels for them (see models.fused): [tokens].
        position_embeddings: for any other one, as transformers computes them.
        out: where the results are to be, if that matters.
        low_rank_query: what `low_rank` gives, where it is known already.

    Returns:
        Queries in the space of the latents, [tokens, heads, rank + rope], and latents,
        [tokens, rank + rope].
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
    # The product is written where it has to be: at 128 heads a copy takes as long as the product.
    torch.bmm(query.transpose(0, 1), up_key, out=moved[..., :rank].transpose(0, 1))
    moved[..., rank:].copy_(query_rope)
    return (
        moved,
        torch.cat((module.kv_a_layernorm(latent), key_rope[:, 0]), dim=-1, out=out[1]),
    )


def output(module: Any, mixed: torch.Tensor) -> torch.Tensor:
    """What the module adds to the residual stream, [tokens, hidden].

    Args:
        module: the attention module.
        mixed: weighted sums of latents, [tokens, heads, rank].
    """
    up_value = _up(module)[:, module.qk_nope_head_dim :]
    value = mixed.new_empty(len(mixed), module.num_heads, up_value.shape[1])
    torch.bmm(mixed.transpose(0, 1), up_value.transpose(1, 2), out=value.transpose(0, 1))
    added: torch.Tensor = module.o_proj(value.flatten(1))
    return added


def _up(module: Any) -> torch.Tensor:
    """[heads, nope + value, rank]: for each head, the rows that make keys, then those for values."""
    weight: torch.Tensor = module.kv_b_proj.weight
    return weight.view(module.num_heads, -1, module.kv_lora_rank)


def low_rank(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return what queries are made of: [tokens, q_lora_rank], or `hidden` itself without one."""
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
    """Rotate [tokens, heads, rope] with the function of the module's class."""
    # Those functions take [batch, heads, tokens, rope].
    query, key = query.transpose(0, 1)[None], key.transpose(0, 1)[None]
    if isinstance(self, v2.DeepseekV2Attention):
        query, key = v2.apply_rotary_emb(query, key, position_embeddings)
    elif rotates_neighbours(self.config):
        query, key = v3.apply_rotary_pos_emb_interleave(query, key, *position_embeddings)
    else:
        query, key = v3.apply_rotary_pos_emb(query, key, *position_embeddings)
    return query[0].transpose(0, 1), key[0].transpose(0, 1)
