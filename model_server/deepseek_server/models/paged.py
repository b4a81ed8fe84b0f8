"""Runs unmodified transformers models on a paged cache.

All chunks of a step go through the model as one row of tokens, each with its own position. Where
tokens of different sequences would meet, in attention, the model calls ours instead of its own: it
is registered under a name with transformers, and finds the step's cache in the arguments that
models hand through to it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel

from deepseek_server.attention.interface import Attention, GroupedHeads, Heads, Row
from deepseek_server.engine.step import Chunk
from deepseek_server.models.mla import absorb, latent_heads

NAME = "paged_cache"
MODEL_TYPES = frozenset({"deepseek_v2", "deepseek_v3", "llama", "qwen2", "qwen3"})


def fits(model: PreTrainedModel) -> bool:
    """Whether a model can run on the paged cache: its attention is known and sees everything."""
    config = model.config
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    return config.model_type in MODEL_TYPES and layer_types == {"full_attention"}


def heads_of(model: PreTrainedModel) -> Heads:
    """The heads of a model that fits, or of this process's part; all its layers have the same."""
    attention = model.model.layers[0].self_attn
    return latent_heads(attention) or GroupedHeads(
        heads=attention.q_proj.out_features // attention.head_dim,
        kv_heads=attention.k_proj.out_features // attention.head_dim,
        dim=attention.head_dim,
        scale=attention.scaling,
    )


class PagedRunner:
    """A model with a paged cache: see engine.step.Runner.

    Args:
        model: a model that fits; it can run in no other way from here on.
        attention: the cache, of the model's heads and layers, and what attends over it.
    """

    def __init__(self, model: PreTrainedModel, attention: Attention) -> None:
        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(NAME)
        absorb(model)
        self._model, self._attention = model, attention

    @property
    def block_size(self) -> int:
        """Tokens of one cache block."""
        return self._attention.size.block_size

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""
        return self._attention.size.blocks

    @property
    def device(self) -> torch.device:
        """Where the logits are."""
        return self._model.device

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step; see Runner.run."""
        # Single tokens first, for attention; the logits come in the order that was asked for.
        order = sorted(range(len(chunks)), key=lambda index: len(chunks[index].tokens) > 1)
        row = [chunks[index] for index in order]
        ends, end = {}, 0
        for index, chunk in zip(order, row, strict=True):
            end += len(chunk.tokens)
            ends[index] = end - 1
        sampled = [ends[index] for index, chunk in enumerate(chunks) if chunk.sample]

        self._attention.plan(
            Row(
                chunks=row,
                singles=sum(len(chunk.tokens) == 1 for chunk in row),
                slots=self._tensor([slot for chunk in row for slot in self._slots(chunk)]),
            )
        )
        with torch.inference_mode():
            output = self._model(
                input_ids=self._tensor([token for chunk in row for token in chunk.tokens])[None],
                position_ids=self._tensor([p for chunk in row for p in _positions(chunk)])[None],
                use_cache=False,
                logits_to_keep=self._tensor(sampled),
                paged=self._attention,
            )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _slots(self, chunk: Chunk) -> list[int]:
        size = self.block_size
        return [chunk.blocks[p // size] * size + p % size for p in _positions(chunk)]

    def _tensor(self, numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self.device)


def _positions(chunk: Chunk) -> range:
    return range(chunk.start, chunk.start + len(chunk.tokens))


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    paged: Attention,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it: [1, heads, tokens, dim] in, [1, tokens, heads, dim] out."""
    row = (part[0].transpose(0, 1) for part in (query, key, value))
    return paged.grouped(module.layer_idx, *row).unsqueeze(0), None
