"""DeepSeek-V3.2's attention on the paged cache: an indexer selects tokens for latent attention.

The indexer's queries come from the same low-rank query as those of attention; its key is one vector
per token. In both, the rotated part comes first, and its rotary embedding pairs the two halves,
whereas attention pairs neighbouring values.
"""

from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.deepseek_v32.modeling_deepseek_v32 import apply_rotary_pos_emb

from deepseek_server.attention.base import SparseHeads
from deepseek_server.attention.sparse.attention import SparseAttention
from deepseek_server.models.layers import mla


def absorb(model: PreTrainedModel) -> None:
    """Make a model's sparse attention run on the paged cache that its forward receives."""
    for module in model.modules():
        if isinstance(mla.latent_heads(module), SparseHeads):
            module.forward = MethodType(_forward, module)


def _forward(
    self: Any,
    hidden_states: torch.Tensor,
    *,
    paged: SparseAttention,
    positions: torch.Tensor,
    position_embeddings: Any = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    hidden = hidden_states[0]
    low_rank = mla.low_rank(self, hidden)
    index = index_inputs(self.indexer, hidden, low_rank, positions, position_embeddings)
    paged.choose(self.layer_idx, *index)
    query, latent = mla.inputs(
        self, hidden, positions, position_embeddings, low_rank_query=low_rank
    )
    mixed = paged.latent(self.layer_idx, query, latent)
    return mla.output(self, mixed).unsqueeze(0), None


def index_inputs(
    indexer: Any,
    hidden: torch.Tensor,
    low_rank: torch.Tensor,
    positions: torch.Tensor,
    position_embeddings: Any = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inputs of the indexer's scores.

    Args:
        indexer: the indexer of an attention module.
        hidden: [tokens, hidden].
        low_rank: the low-rank query: [tokens, q_lora_rank].
        positions: for a fused indexer (see models.layers.fused): [tokens].
        position_embeddings: for any other indexer, as transformers computes them.

    Returns:
        Queries, [tokens, heads, dim], keys, [tokens, dim], and weights of the heads, [tokens,
        heads], float32.
    """
    query = indexer.wq_b(low_rank).view(-1, indexer.n_heads, indexer.head_dim)
    key = indexer.k_norm(indexer.wk(hidden)).unsqueeze(1)
    turned = [part[..., : indexer.qk_rope_head_dim] for part in (query, key)]
    if hasattr(indexer, "rotation"):
        indexer.rotation(positions, *turned)
    else:
        rotated = apply_rotary_pos_emb(
            *(part[None] for part in turned), *position_embeddings, unsqueeze_dim=2
        )
        for part, new in zip(turned, rotated, strict=True):
            part.copy_(new[0])
    projection = indexer.weights_proj
    weights = projection(hidden.to(projection.weight.dtype)).float()
    return query, key.squeeze(1), weights * (indexer.softmax_scale * indexer.n_heads**-0.5)
