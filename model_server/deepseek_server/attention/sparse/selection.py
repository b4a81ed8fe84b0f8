"""Selection of cached keys for the tokens of a step, tile by tile, across the cache's blocks.

A key represents a token, or several tokens that were compressed into one entry. Positions are
counted in keys; blocks and block tables are those of the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from deepseek_server.attention.sparse.scores import best
from deepseek_server.attention.sparse.tiles import Budget, tiles
from deepseek_server.engine.runner import Chunk

# Bytes for the scores, or the gathered keys, of a tile.
TILE_BYTES = {"cpu": 2**26, "cuda": 2**29}
FLOAT32 = 4


@dataclass(frozen=True)
class Indexer:
    """Dimensions of an indexer, which selects keys.

    Attributes:
        heads: Heads of its queries.
        dim: Values of a head, and of a key.
        topk: Number of keys to select; all if there are fewer.
    """

    heads: int
    dim: int
    topk: int


@dataclass(frozen=True)
class _Tile:
    """A tile on the device: see tiles.Tile; `last` is the last key visible to each query."""

    rows: torch.Tensor
    last: torch.Tensor
    blocks: torch.Tensor


class Selection:
    """Selection of keys by an indexer.

    Args:
        indexer: The indexer.
        block_size: Tokens per block.
        spare: The spare block, which belongs to no sequence.
        dtype: Type of the keys.
        device: Device of the keys.
        rate: Tokens per key; divides `block_size`.
    """

    def __init__(
        self,
        indexer: Indexer,
        block_size: int,
        spare: int,
        dtype: torch.dtype,
        device: torch.device,
        rate: int = 1,
    ) -> None:
        self._indexer, self._block_size, self._spare = indexer, block_size, spare
        self._device, self._rate = device, rate
        self._budget = Budget(
            # tiles counts in tokens, `rate` of which make a key.
            TILE_BYTES[device.type] * rate,
            # Keys as cached, and in float32.
            key=indexer.dim * (dtype.itemsize + FLOAT32),
            # Scores of each head, and summed, masked and sorted.
            score=FLOAT32 * (indexer.heads + 4),
        )
        self._tiles: list[_Tile] = []
        self._chosen = torch.empty(0, indexer.topk, dtype=torch.int32, device=device)

    def is_needed(self, chunks: Sequence[Chunk]) -> bool:
        """Return whether a step has a sequence with more keys than `topk`."""
        return max(chunk.end for chunk in chunks) // self._rate > self._indexer.topk

    def plan(self, chunks: Sequence[Chunk]) -> None:
        """Prepare for a step.

        Args:
            chunks: In the order of their rows.
        """
        planned = tiles(chunks, self._block_size, self._budget, self._spare)
        arrays = [
            part
            for tile in planned
            for part in (tile.rows, (tile.positions + 1) // self._rate - 1, tile.blocks)
        ]
        parts = iter(to_device(arrays, self._device))
        self._tiles = [_Tile(*three) for three in zip(*3 * [parts], strict=True)]
        self._chosen = torch.full(
            (sum(len(chunk) for chunk in chunks), self._indexer.topk),
            -1,
            dtype=torch.int32,
            device=self._device,
        )

    def choose(
        self, query: torch.Tensor, weights: torch.Tensor, keys: torch.Tensor
    ) -> torch.Tensor:
        """Return the indices of the selected keys, padded with -1: [tokens, topk], int32.

        The next call overwrites them.

        Args:
            query: [tokens, heads, dim].
            weights: Weights of the heads, float32: [tokens, heads].
            keys: The cache: [blocks, keys per block, dim].
        """
        per_block = keys.shape[1]
        for tile in self._tiles:
            kept = keys[tile.blocks].flatten(1, 2)
            count = min(self._indexer.topk, kept.shape[1])
            found = best(query[tile.rows], weights[tile.rows], kept, tile.last, count)
            known = found.clamp(min=0).flatten(1)
            indices = tile.blocks.gather(1, known // per_block) * per_block + known % per_block
            indices = indices.view_as(found).masked_fill_(found < 0, -1)
            self._chosen[tile.rows.flatten(), :count] = indices.flatten(0, 1).int()
        return self._chosen


def to_device(arrays: Sequence[npt.NDArray[np.int64]], device: torch.device) -> list[torch.Tensor]:
    """Return arrays on a device, after one asynchronous copy."""
    packed = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        packed = packed.pin_memory()
    moved = packed.to(device, non_blocking=True).split([array.size for array in arrays])
    return [flat.view(array.shape) for flat, array in zip(moved, arrays, strict=True)]
