"""Piecewise CUDA graphs of prefill and mixed steps: one piece between two layers' attention.

Steps that mix prefill and decode differ only in their attention and their number of tokens. So
everything from the output of one attention to the input of the next is captured, for some numbers
of tokens, and only attention is launched in each step. Without that, launching a step of a few
hundred tokens takes the CPU longer than the GPU takes to compute.

Inputs and outputs of all pieces are in the same static buffers, because pieces run one after the
other. Larger steps run without graphs.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from deepseek_server.attention.base import Attention, GroupedHeads, Heads, LatentHeads
from deepseek_server.models.layers import fused, mla
from deepseek_server.models.runners.cuda_graphs import capture_stream, unless_out_of_memory

log = logging.getLogger(__name__)

Embed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def sizes(most: int) -> list[int]:
    """Return the numbers of tokens to capture, ascending; padding is at most about a quarter."""
    steps = [
        32,
        *range(64, 512, 64),
        *range(512, 1024, 128),
        *range(1024, 2048, 256),
        *range(2048, 4096 + 1, 512),
    ]
    return [size for size in steps if size <= most]


class PiecewiseGraphs:
    """Captured pieces of a fused model (see models.layers.fused).

    Args:
        model: the model.
        heads: heads of its attention.
        attention: the attention that is called between the pieces.
        embed: maps token ids and request indices to embeddings: [tokens], [tokens] to [tokens, hidden].
        counts: numbers of tokens to capture, ascending.

    Attributes:
        attention: the attention; may be replaced by one with another cache.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        heads: Heads,
        attention: Attention,
        embed: Embed,
        counts: Sequence[int],
    ) -> None:
        self._layers = list(model.model.layers)
        self._norm = model.model.norm
        self.attention = attention
        self._heads, self._embed = heads, embed
        self._captured: dict[int, list[torch.cuda.CUDAGraph]] = {}
        self._pool: tuple[int, int] | None = None
        self._stream = capture_stream()
        largest, device, dtype = counts[-1], model.device, model.dtype
        self._integers = torch.zeros((3, largest), dtype=torch.int64, device=device)

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(largest, *shape, dtype=dtype, device=device)

        self._residual = zeros(model.config.hidden_size)
        self._hidden = zeros(model.config.hidden_size)
        self._inputs: tuple[torch.Tensor, ...]
        if isinstance(heads, LatentHeads):
            self._inputs = (
                zeros(heads.heads, heads.kv_lora_rank + heads.qk_rope_head_dim),
                zeros(heads.kv_lora_rank + heads.qk_rope_head_dim),
            )
            self._mixed = zeros(heads.heads, heads.kv_lora_rank)
        else:
            self._inputs = (zeros((heads.heads + 2 * heads.kv_heads) * heads.dim),)
            self._mixed = zeros(heads.heads, heads.dim)
        started = time.monotonic()
        with torch.inference_mode():
            # Largest first: the smaller ones then reuse their memory.
            for size in reversed(counts):
                with unless_out_of_memory(f"piecewise graphs of prefill steps of {size} tokens"):
                    self._captured[size] = self._capture(size)
        self._sizes = sorted(self._captured)
        torch.cuda.empty_cache()  # memory of the warm-up calls on the other stream
        log.info(
            "captured piecewise CUDA graphs of prefill steps for %d sizes in %.1f s",
            len(self._sizes),
            time.monotonic() - started,
        )

    def can_run(self, tokens: int) -> bool:
        """Return whether a step of the given number of tokens can run on captured pieces."""
        return bool(self._sizes) and tokens <= self._sizes[-1]

    def run(
        self, tokens: torch.Tensor, request_indices: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """Run the model without its head; attention must have been planned for the step.

        Args:
            tokens: token ids, negative for the next token of the request: [tokens].
            request_indices: [tokens].
            positions: [tokens].

        Returns:
            [tokens, hidden], overwritten by the next step.
        """
        count = len(tokens)
        size = self._size_for(count)
        for kept, new in zip(self._integers, (tokens, request_indices, positions), strict=True):
            kept[:count].copy_(new)
        first, *rest = self._captured[size]
        first.replay()
        for number, piece in enumerate(rest):
            self._mixed[:count].copy_(self._attend(number, count))
            piece.replay()
        return self._hidden[:count]

    def _size_for(self, tokens: int) -> int:
        return self._sizes[bisect_left(self._sizes, tokens)]

    def _attend(self, layer: int, count: int) -> torch.Tensor:
        heads = self._heads
        if isinstance(heads, GroupedHeads):
            widths = [heads.heads * heads.dim, *2 * [heads.kv_heads * heads.dim]]
            parts = self._inputs[0][:count].split(widths, dim=1)
            query, key, value = (part.unflatten(1, (-1, heads.dim)) for part in parts)
            return self.attention.grouped(layer, query, key, value)
        query, latent = (part[:count] for part in self._inputs)
        return self.attention.latent(layer, query, latent)

    def _capture(self, size: int) -> list[torch.cuda.CUDAGraph]:
        graphs = []
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for number in range(len(self._layers) + 1):
                self._piece(number, size)  # warm-up: initialization can't be captured
                graph = torch.cuda.CUDAGraph()
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    self._piece(number, size)
                finally:
                    graph.capture_end()
                self._pool = self._pool or graph.pool()
                graphs.append(graph)
        torch.cuda.current_stream().wait_stream(self._stream)
        return graphs

    def _piece(self, number: int, size: int) -> None:
        """Compute from the output of the previous layer's attention to the input of the next."""
        tokens, request_indices, positions = self._integers[:, :size]
        residual = self._residual[:size]
        if number == 0:
            residual.copy_(self._embed(tokens, request_indices))
            hidden = self._layers[0].input_layernorm(residual)
        else:
            before = self._layers[number - 1]
            added = self._output(before.self_attn, self._mixed[:size])
            _, hidden = fused.add_and_norm(
                before.post_attention_layernorm, (residual[None], added[None])
            )
            last = number == len(self._layers)
            norm = self._norm if last else self._layers[number].input_layernorm
            _, hidden = fused.add_and_norm(norm, (residual[None], before.mlp(hidden)))
            hidden = hidden[0]
            if last:
                self._hidden[:size].copy_(hidden)
                return
        module = self._layers[number].self_attn
        out = [part[:size] for part in self._inputs]
        if isinstance(self._heads, LatentHeads):
            mla.inputs(module, hidden, positions, out=out)
        else:
            fused.inputs(module, hidden, positions, out=out[0])

    def _output(self, module: torch.nn.Module, mixed: torch.Tensor) -> torch.Tensor:
        if isinstance(self._heads, LatentHeads):
            return mla.output(module, mixed)
        added: torch.Tensor = module.o_proj(mixed.flatten(1))
        return added
