"""DeepSeek-V4's attention for all sequences of a step at once, in torch.

For a sequence's last tokens a layer keeps the keys of a window, and the tokens that wait to be
compressed into an entry, in ring buffers by request index. Entries are in a paged cache of the
scheduler's blocks. A ring buffer is overwritten as its sequence grows, so a block cannot be
reused for another sequence with the same prefix.

A layer completes entries, selects some of them if it has an indexer, and attends (see
models.layers.compressed).
"""

from dataclasses import dataclass

import torch

from deepseek_server.attention.base import CacheSize, PackedBatch
from deepseek_server.attention.compressed.shape import HEAVY, SPARSE, WINDOW, CompressedShape
from deepseek_server.attention.compressed.step import Origin, Step
from deepseek_server.attention.sparse.selection import FLOAT32, TILE_BYTES, Selection, to_device


@dataclass(frozen=True)
class Sources:
    """The source tokens of entries.

    Attributes:
        tokens: Values and gates of each entry's tokens: [entries, tokens, numbers].
        exist: Mask of the tokens that exist; positions before a sequence do not: [entries, tokens].
        positions: Position of the entry's own first token: [entries].
    """

    tokens: torch.Tensor
    exist: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class _Gather:
    """Indices of tokens to read from the concatenation of a step's batch and a ring buffer.

    Attributes:
        indices: [n, tokens].
        exist: Mask of the tokens that exist: [n, tokens].
        written: Rows of the batch to store in the ring buffer afterwards: [m].
        ring: Their indices in the ring buffer: [m].
    """

    indices: torch.Tensor
    exist: torch.Tensor
    written: torch.Tensor
    ring: torch.Tensor


@dataclass(frozen=True)
class _Completed:
    """Entries of one kind of layer that a step completes.

    Attributes:
        gather: Indices of their tokens.
        positions: [entries].
        indices: Their indices in the cache: [entries].
    """

    gather: _Gather
    positions: torch.Tensor
    indices: torch.Tensor


class CompressedAttention:
    """DeepSeek-V4's attention: see the module.

    Args:
        shape: The model's attention.
        size: Size of the cache of entries; blocks have a multiple of `shape.stretch` tokens.
        max_num_seqs: Maximum number of sequences that run at once.
        dtype: Type of the cached values.
        device: Device of the model.
    """

    supports_cuda_graphs = False

    def __init__(
        self,
        shape: CompressedShape,
        size: CacheSize,
        max_num_seqs: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.size, self._shape, self._device = size, shape, device

        def zeros(*extents: int) -> torch.Tensor:
            return torch.zeros(extents, dtype=dtype, device=device)

        self._windows = [zeros(max_num_seqs * (shape.window - 1), shape.dim) for _ in shape.kinds]
        self._waiting = [
            zeros(max_num_seqs * shape.waiting(kind), shape.source(kind)) for kind in shape.kinds
        ]
        per_block = {kind: size.block_size // rate for kind, rate in shape.rates.items()}
        blocks = size.blocks + 1
        self._entries = [zeros(blocks, per_block.get(k, 0), shape.dim) for k in shape.kinds]
        self._keys = [
            zeros(blocks, per_block[kind] if kind == SPARSE else 0, shape.indexer.dim)
            for kind in shape.kinds
        ]
        self._selection = Selection(
            shape.indexer, size.block_size, size.blocks, dtype, device, shape.rates[SPARSE]
        )
        self._sparse = False
        self._chosen = torch.empty(0, shape.indexer.topk, dtype=torch.int32, device=device)
        self._completed: dict[str, _Completed] = {}

    @property
    def cached_bytes(self) -> int:
        """Bytes of ring buffers and entries."""
        kept = (*self._windows, *self._waiting, *self._entries, *self._keys)
        return sum(tensor.nbytes for tensor in kept)

    def plan(self, batch: PackedBatch) -> None:
        """Prepare for a step; all calls until the next plan belong to this batch."""
        step = Step(batch.chunks)
        self._sparse = self._selection.is_needed(batch.chunks)
        if self._sparse:
            self._selection.plan(batch.chunks)
        self._chunk, self._positions, self._table = to_device(
            [step.chunk, step.positions, step.table(self.size.blocks)], self._device
        )
        self._most = {kind: step.longest // rate for kind, rate in self._shape.rates.items()}
        window = self._shape.window
        self._window = self._gather(step, self._positions, step.origin, 1 - window, 1, window - 1)
        self._completed = {
            kind: self._completed_by(step, kind)
            for kind in sorted(set(self._shape.kinds) - {WINDOW})
        }

    def sources(self, layer: int, tokens: torch.Tensor) -> Sources:
        """Return the source tokens of the entries that the step completes.

        Args:
            layer: Index of a layer with entries.
            tokens: Values and gates of the step's tokens: [tokens, numbers].
        """
        completed = self._completed[self._shape.kinds[layer]]
        gathered = _read(completed.gather, tokens, self._waiting[layer])
        return Sources(gathered, completed.gather.exist, completed.positions)

    def keep(self, layer: int, entries: torch.Tensor, keys: torch.Tensor | None = None) -> None:
        """Cache the entries that the step completes.

        Args:
            layer: Index of the layer.
            entries: [entries, dim].
            keys: The indexer's keys if the layer has one: [entries, index_dim].
        """
        indices = self._completed[self._shape.kinds[layer]].indices
        self._entries[layer].flatten(0, 1).index_copy_(0, indices, entries)
        if keys is not None:
            self._keys[layer].flatten(0, 1).index_copy_(0, indices, keys)

    @property
    def chooses(self) -> bool:
        """Whether a sequence of the step has more entries than an indexer selects."""
        return self._sparse

    def choose(self, layer: int, query: torch.Tensor, weights: torch.Tensor) -> None:
        """Select the entries that the layer attends to, in a step that `chooses`.

        Args:
            layer: Index of the layer.
            query: [tokens, index_heads, index_dim].
            weights: Weights of the heads, float32: [tokens, index_heads].
        """
        self._chosen = self._selection.choose(query, weights, self._keys[layer])

    def attend(
        self, layer: int, query: torch.Tensor, keys: torch.Tensor, sinks: torch.Tensor
    ) -> torch.Tensor:
        """Store the keys of the step's tokens in the window, and attend.

        Args:
            layer: Index of the layer.
            query: [tokens, heads, dim].
            keys: Keys, which are also the values: [tokens, dim].
            sinks: Attention sink of each head, a logit in the softmax without a value: [heads].

        Returns:
            [tokens, heads, dim].
        """
        ring, kind = self._windows[layer], self._shape.kinds[layer]
        known = torch.cat((keys, ring))
        tokens_per_tile = self._tokens_per_tile(kind, keys)
        parts = []
        for begin in range(0, len(query), tokens_per_tile):
            tile = slice(begin, begin + tokens_per_tile)
            kept, seen = known[self._window.indices[tile]], self._window.exist[tile]
            if kind != WINDOW:
                indices = self._visible(kind, tile)
                entries = self._entries[layer].flatten(0, 1)[indices.clamp(min=0)]
                kept, seen = torch.cat((kept, entries), 1), torch.cat((seen, indices >= 0), 1)
            parts.append(_softmax_with_sinks(query[tile], kept, seen, sinks, self._shape.scale))
        ring.index_copy_(0, self._window.ring, keys[self._window.written])
        return torch.cat(parts)

    def _visible(self, kind: str, tile: slice) -> torch.Tensor:
        """Return the indices of the entries that tokens attend to, or -1: [tokens, entries]."""
        if kind == SPARSE and self._sparse:
            return self._chosen[tile]
        rate = self._shape.rates[kind]
        per_block = self.size.block_size // rate
        entries = torch.arange(self._most[kind], device=self._device)
        indices = self._table[:, entries // per_block] * per_block + entries % per_block
        unseen = entries >= (self._positions[tile, None] + 1) // rate
        return indices[self._chunk[tile]].masked_fill(unseen, -1)

    def _tokens_per_tile(self, kind: str, keys: torch.Tensor) -> int:
        """Return the number of tokens per tile, for gathered keys, scores and their softmax."""
        seen = self._shape.window
        if kind == HEAVY or (kind == SPARSE and not self._sparse):
            seen += self._most[kind]
        elif kind == SPARSE:
            seen += self._shape.indexer.topk
        token = seen * (2 * keys.shape[1] * keys.itemsize + 4 * self._shape.heads * FLOAT32)
        return max(1, int(TILE_BYTES[self._device.type] // token))

    def _completed_by(self, step: Step, kind: str) -> _Completed:
        rate = self._shape.rates[kind]
        positions, indices, origin = step.completed(rate, self.size.block_size)
        at, where = to_device([positions, indices], self._device)
        before = rate if kind == SPARSE else 0
        gather = self._gather(step, at, origin, -before, rate, self._shape.waiting(kind))
        return _Completed(gather, at, where)

    def _gather(
        self, step: Step, at: torch.Tensor, origin: Origin, first: int, end: int, size: int
    ) -> _Gather:
        """Return the indices of the tokens from `first` to before `end`, relative to positions.

        Args:
            step: The step.
            at: The positions: [n].
            origin: Their chunks.
            first: Offset of the first token; negative for earlier tokens.
            end: Offset after the last token; positive.
            size: Tokens of the ring buffer of one request.
        """
        begin, start, request_index, written, ring = to_device(
            [origin.begin, origin.start, origin.request_index, *step.ring(size)], self._device
        )
        wanted = at[:, None] + torch.arange(first, end, device=self._device)
        from_row = (begin - start)[:, None] + wanted
        from_ring = len(step.rows) + request_index[:, None] * size + wanted % size
        indices = torch.where(wanted >= start[:, None], from_row, from_ring)
        exist = wanted >= 0
        return _Gather(indices.masked_fill_(~exist, 0), exist, written, ring)


def _read(gather: _Gather, tokens: torch.Tensor, ring: torch.Tensor) -> torch.Tensor:
    """Read tokens of a step and earlier ones, then store the last ones in the ring buffer."""
    gathered = torch.cat((tokens, ring))[gather.indices]
    ring.index_copy_(0, gather.ring, tokens[gather.written])
    return gathered


def _softmax_with_sinks(
    query: torch.Tensor,
    kept: torch.Tensor,
    seen: torch.Tensor,
    sinks: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Attend: [n, heads, dim] over [n, k, dim], masked by seen, [n, k]; with a sink per head."""
    scores = torch.bmm(query, kept.transpose(1, 2)) * scale
    scores = scores.masked_fill_(~seen[:, None], float("-inf"))
    sink = sinks.view(1, -1, 1).expand(len(query), -1, 1)
    shares = torch.cat((scores, sink), dim=-1).softmax(dim=-1)[..., :-1]
    return torch.bmm(shares.to(kept.dtype), kept)
