"""A runner of unmodified transformers models on a paged cache.

All chunks of a step go through the model as one packed batch of tokens, each with its own position.
Attention, where tokens of different sequences would mix, is replaced by ours: it is registered
under a name with transformers and receives the step's cache in the keyword arguments that models
pass through.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel

from deepseek_server.attention.base import Attention, GroupedHeads, Heads, PackedBatch, Planned
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.layers import fused, mla, sparse
from deepseek_server.models.runners.cuda_graphs import DecodeGraphs
from deepseek_server.models.runners.inputs import StepInputs, step_inputs

if TYPE_CHECKING:
    from deepseek_server.models.runners.piecewise_graphs import PiecewiseGraphs

NAME = "paged_cache"
MODEL_TYPES = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32", "llama", "qwen2", "qwen3"})
# Supported kinds of layers of a model. Indexed attention is V3.2's, in all its layers.
_LAYER_TYPES = ({"full_attention"}, {"indexed_attention"})


def fits(model: PreTrainedModel) -> bool:
    """Return whether a model can run on the paged cache: its attention caches every token."""
    config = model.config
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    return config.model_type in MODEL_TYPES and layer_types in _LAYER_TYPES


def heads_of(model: PreTrainedModel) -> Heads:
    """Return the heads of a supported model, or of this rank's part; all layers have the same."""
    attention = model.model.layers[0].self_attn
    return mla.latent_heads(attention) or GroupedHeads(
        heads=attention.q_proj.out_features // attention.head_dim,
        kv_heads=attention.k_proj.out_features // attention.head_dim,
        dim=attention.head_dim,
        scale=attention.scaling,
    )


class PagedRunner:
    """A model with a paged cache: see engine.runner.Runner.

    Args:
        model: a supported model; it is modified and can no longer run in any other way.
        attention: attention over a cache for the model's heads and layers; it has to be an
            Attention if the model is fused or steps can be captured.
        max_num_seqs: maximum number of sequences that run at once.
        fused: whether the model is fused (models.layers.fused).
    """

    shares_prefixes = True

    def __init__(
        self,
        model: PreTrainedModel,
        attention: Planned,
        max_num_seqs: int,
        *,
        fused: bool = False,
    ) -> None:
        self._fused = fused
        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(NAME)
        mla.absorb(model)
        sparse.absorb(model)
        self._model, self._attention = model, attention
        self._device: torch.device = model.device
        # The next token by request index, where a step has sampled it. The last one is for padding.
        self._sampled_tokens = torch.zeros(max_num_seqs + 1, dtype=torch.int64, device=self._device)
        self._sampled_request_indices = torch.empty(0, dtype=torch.int64, device=self._device)
        self.max_num_seqs = max_num_seqs
        self._decode_graphs: DecodeGraphs | None = None
        self._piecewise_graphs: PiecewiseGraphs | None = None

    @property
    def block_size(self) -> int:
        """Tokens per cache block."""
        return self._attention.size.block_size

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""
        return self._attention.size.blocks

    @property
    def overlap_scheduling(self) -> bool:
        """Whether the device computes asynchronously."""
        return bool(self._device.type == "cuda")

    @property
    def supports_cuda_graphs(self) -> bool:
        """Whether steps can be captured as CUDA graphs."""
        return self._attention.supports_cuda_graphs

    def use(self, attention: Planned) -> None:
        """Switch to another cache; graphs of decode steps belong to the old one and are dropped."""
        self._attention, self._decode_graphs = attention, None
        if self._piecewise_graphs is not None:
            self._piecewise_graphs.attention = cast("Attention", attention)

    def capture_piecewise(self, counts: Sequence[int]) -> None:
        """Capture prefill steps as piecewise CUDA graphs, without their attention.

        Args:
            counts: numbers of tokens, ascending.
        """
        from deepseek_server.models.runners.piecewise_graphs import PiecewiseGraphs

        attention = cast("Attention", self._attention)
        self._piecewise_graphs = PiecewiseGraphs(
            self._model, heads_of(self._model), attention, self._embed, counts
        )

    def capture_decode(self, counts: Sequence[int]) -> DecodeGraphs:
        """Capture decode steps with the current cache; see `use_decode_graphs`.

        Args:
            counts: numbers of sequences.
        """
        attention = cast("Attention", self._attention)
        graphs = DecodeGraphs(self._forward, attention, self.max_num_seqs, device=self._device)
        graphs.capture(counts)
        return graphs

    def use_decode_graphs(self, graphs: DecodeGraphs) -> None:
        """Use these graphs for all further decode steps."""
        self._decode_graphs = graphs

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step; see Runner.run."""
        inputs = step_inputs(chunks, self.block_size)
        with torch.inference_mode():
            count, graphs = len(chunks), self._decode_graphs
            if graphs is not None and inputs.num_decode_tokens == count and graphs.can_run(count):
                logits, self._sampled_request_indices = graphs.run(inputs)
                return logits
            return self._run_without_decode_graph(inputs)

    def store_sampled_tokens(self, tokens: torch.Tensor) -> None:
        """See Runner.store_sampled_tokens."""
        self._sampled_tokens.index_copy_(0, self._sampled_request_indices, tokens)

    def _run_without_decode_graph(self, inputs: StepInputs) -> torch.Tensor:
        tokens, request_indices, positions, slot_mapping, sampled, self._sampled_request_indices = (
            self._on_device(inputs)
        )
        self._attention.plan(PackedBatch(inputs.chunks, inputs.num_decode_tokens, slot_mapping))
        if self._piecewise_graphs is not None and self._piecewise_graphs.can_run(len(tokens)):
            hidden = self._piecewise_graphs.run(tokens, request_indices, positions)
            logits: torch.Tensor = self._model.lm_head(hidden[sampled])
            return logits
        return self._forward(tokens, request_indices, positions, sampled)

    def _on_device(self, inputs: StepInputs) -> tuple[torch.Tensor, ...]:
        """Return the arrays of a step on the device, copied at once."""
        arrays = inputs.arrays
        packed = torch.from_numpy(np.concatenate(arrays))
        if self.overlap_scheduling:
            packed = packed.pin_memory()
        moved = packed.to(self._device, non_blocking=True)
        return tuple(moved.split([len(array) for array in arrays]))

    def _forward(
        self,
        tokens: torch.Tensor,
        request_indices: torch.Tensor,
        positions: torch.Tensor,
        sampled: torch.Tensor | int,
    ) -> torch.Tensor:
        """Run the model over a packed batch.

        Args:
            tokens: negative where it is the next token of the request: [tokens].
            request_indices: [tokens].
            positions: [tokens].
            sampled: indices in the batch, [n], or 0 for all.

        Returns:
            Logits: [n, vocabulary].
        """
        if self._fused:
            attention = cast("Attention", self._attention)
            hidden = fused.run(
                self._model, self._embed(tokens, request_indices), attention, positions
            )
            wanted = hidden if isinstance(sampled, int) else hidden[sampled]
            after: torch.Tensor = self._model.lm_head(wanted)
            return after
        output = self._model(
            input_ids=self._known(tokens, request_indices)[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=sampled,
            paged=self._attention,
            positions=positions,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _known(self, tokens: torch.Tensor, request_indices: torch.Tensor) -> torch.Tensor:
        return torch.where(tokens < 0, self._sampled_tokens[request_indices], tokens)

    def _embed(self, tokens: torch.Tensor, request_indices: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self._model.model.embed_tokens(
            self._known(tokens, request_indices)
        )
        return embeddings


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
    """Attend, as transformers calls it: [1, heads, tokens, dim] in, [1, tokens, heads, dim] out."""
    row = (part[0].transpose(0, 1) for part in (query, key, value))
    return paged.grouped(module.layer_idx, *row).unsqueeze(0), None
