"""DeepSeek-V4's attention for all sequences at once: see attention.compressed.

The arithmetic is that of transformers' modules, whose projections, norms and rotary embedding are
used unchanged: an entry is the sum of its tokens' values, weighted by the softmax of their gates
and normalised. In layers with a low compression rate, the tokens of the previous entry contribute
too, by a second value and gate of each token. transformers computes it sequence by sequence.
"""

from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.deepseek_v4.modeling_deepseek_v4 import (
    DeepseekV4Attention,
    apply_rotary_pos_emb,
)

from deepseek_server.attention.compressed.attention import CompressedAttention, Sources
from deepseek_server.attention.compressed.shape import SPARSE, CompressedShape
from deepseek_server.attention.sparse.selection import Indexer

MODEL_TYPE = "deepseek_v4"
_ROTATION = "compress"  # transformers' name for the rotary embedding of entries


def fits(model: PreTrainedModel) -> bool:
    """Return whether a model has this kind of attention."""
    return bool(model.config.model_type == MODEL_TYPE)


def shape_of(config: Any) -> CompressedShape:
    """Return the shape of the attention that a transformers configuration describes."""
    return CompressedShape(
        kinds=tuple(config.layer_types),
        heads=config.num_attention_heads,
        dim=config.head_dim,
        window=config.sliding_window,
        rates=config.compress_rates,
        indexer=Indexer(config.index_n_heads, config.index_head_dim, config.index_topk),
        scale=config.head_dim**-0.5,
    )


def absorb(model: PreTrainedModel) -> None:
    """Make a model's attention run on the paged cache that its forward receives."""
    for module in model.modules():
        if isinstance(module, DeepseekV4Attention):
            module.forward = MethodType(_forward, module)


def _forward(
    self: Any,
    hidden_states: torch.Tensor,
    *,
    paged: CompressedAttention,
    position_embeddings: dict[str, tuple[torch.Tensor, torch.Tensor]],
    **_: object,
) -> tuple[torch.Tensor, None]:
    hidden = hidden_states[0]
    cos, sin = (part[0] for part in position_embeddings[self.rope_layer_type])
    low_rank = self.q_a_norm(self.q_a_proj(hidden))
    query = self.q_b_norm(self.q_b_proj(low_rank).unflatten(1, (-1, self.head_dim)))
    query = apply_rotary_pos_emb(query, cos, sin)
    keys = apply_rotary_pos_emb(self.kv_norm(self.kv_proj(hidden)).unsqueeze(1), cos, sin)
    if self.layer_type == SPARSE:
        _complete_sparse(self.compressor, paged, self.layer_idx, hidden)
        if paged.chooses:
            rotation = (part[0] for part in position_embeddings[_ROTATION])
            wanted = index_query(self.compressor.indexer, hidden, low_rank, *rotation)
            paged.choose(self.layer_idx, *wanted)
    elif self.compressor is not None:
        _complete_heavy(self.compressor, paged, self.layer_idx, hidden)
    mixed = paged.attend(self.layer_idx, query, keys.squeeze(1), self.sinks)
    # Values are the keys and therefore rotated: undo the rotation.
    mixed = apply_rotary_pos_emb(mixed, cos, -sin)
    grouped = self.o_a_proj(mixed.reshape(len(hidden), self.config.o_groups, -1))
    return self.o_b_proj(grouped.flatten(1)).unsqueeze(0), None


def index_query(
    indexer: Any,
    hidden: torch.Tensor,
    low_rank: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an indexer's queries, [tokens, heads, dim], and the weights of its heads, float32."""
    query = indexer.q_b_proj(low_rank).unflatten(1, (-1, indexer.head_dim))
    scorer = indexer.scorer
    weights = scorer.weights_proj(hidden).float() * (scorer.weights_scaling * scorer.softmax_scale)
    return apply_rotary_pos_emb(query, cos, sin), weights


def _complete_heavy(
    compressor: Any, paged: CompressedAttention, layer: int, hidden: torch.Tensor
) -> None:
    tokens = torch.cat((compressor.kv_proj(hidden), compressor.gate_proj(hidden)), dim=1)
    sources = paged.sources(layer, tokens)
    values, gates = sources.tokens.chunk(2, dim=-1)
    paged.keep(layer, _entry(compressor, values, gates + compressor.position_bias, sources))


def _complete_sparse(
    compressor: Any, paged: CompressedAttention, layer: int, hidden: torch.Tensor
) -> None:
    makers = (compressor, compressor.indexer)
    parts = [proj(hidden) for maker in makers for proj in (maker.kv_proj, maker.gate_proj)]
    sources = paged.sources(layer, torch.cat(parts, dim=1))
    kept = sources.tokens.split([part.shape[1] for part in parts], dim=-1)
    entries, keys = (
        _entry(maker, *_overlapping(maker, values, gates, sources), sources)
        for maker, values, gates in zip(makers, kept[::2], kept[1::2], strict=True)
    )
    paged.keep(layer, entries, keys)


def _overlapping(
    maker: Any, values: torch.Tensor, gates: torch.Tensor, sources: Sources
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first values and gates of the previous entry's tokens and the second of its own.

    Args:
        maker: a compressor, or an indexer.
        values: [entries, 2 * rate, 2 * dim].
        gates: the same shape.
        sources: the source tokens, with the mask of existing ones.
    """
    rate, dim = maker.compress_rate, maker.head_dim
    bias = torch.cat((maker.position_bias[:, :dim], maker.position_bias[:, dim:]))
    both = [
        torch.cat((part[:, :rate, :dim], part[:, rate:, dim:]), dim=1) for part in (values, gates)
    ]
    absent = ~sources.exist[..., None]
    return both[0].masked_fill(absent, 0), (both[1] + bias).masked_fill(absent, float("-inf"))


def _entry(maker: Any, values: torch.Tensor, gates: torch.Tensor, sources: Sources) -> torch.Tensor:
    """Return the entries, [entries, dim], of values and gates, [entries, tokens, dim]."""
    shares = gates.softmax(dim=1, dtype=torch.float32).to(values.dtype)
    entries = maker.kv_norm((values * shares).sum(dim=1))
    cos, sin = maker.rotary_emb(entries, position_ids=sources.positions[None], layer_type=_ROTATION)
    rotated: torch.Tensor = apply_rotary_pos_emb(entries.unsqueeze(1), cos[0], sin[0])
    return rotated.squeeze(1)
