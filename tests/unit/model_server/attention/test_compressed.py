"""Attention over windows and entries stays within its memory budget."""

import pytest
import torch

from deepseek_server.attention.base import CacheSize, PackedBatch
from deepseek_server.attention.compressed.attention import CompressedAttention
from deepseek_server.attention.sparse import selection
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.layers.compressed import shape_of
from deepseek_server.models.runners.inputs import step_inputs
from hack.models.families import configuration
from tests.unit.model_server.attention.largest import Largest

BUDGET, TOKENS = 2**19, 560


@torch.inference_mode()
@pytest.mark.parametrize("layer", range(3))
def test_memory_stays_within_the_budget_for_any_context(
    layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(selection.TILE_BYTES, "cpu", BUDGET)
    shape = shape_of(configuration("deepseek-v4"))
    size = CacheSize(len(shape.kinds), TOKENS // shape.stretch, shape.stretch)
    paged = CompressedAttention(shape, size, 1, torch.float32, torch.device("cpu"))
    chunk = Chunk((0,) * TOKENS, 0, tuple(range(size.blocks)), sample=True)
    step = step_inputs([chunk], size.block_size)
    paged.plan(
        PackedBatch(step.chunks, step.num_decode_tokens, torch.from_numpy(step.slot_mapping))
    )
    assert paged.chooses
    indexer = shape.indexer
    index = torch.randn(TOKENS, indexer.heads, indexer.dim), torch.randn(TOKENS, indexer.heads)
    query, keys = torch.randn(TOKENS, shape.heads, shape.dim), torch.randn(TOKENS, shape.dim)
    returned = query.numel() * 4
    with Largest() as largest:
        if layer == 1:
            paged.choose(layer, *index)
        paged.attend(layer, query, keys, torch.zeros(shape.heads))
    assert TOKENS * shape.window * shape.dim * 4 > BUDGET
    assert BUDGET // 8 < largest.bytes <= max(BUDGET, returned)
