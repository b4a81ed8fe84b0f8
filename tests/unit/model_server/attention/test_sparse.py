"""The indexer over the paged cache selects the same tokens as transformers, with any tiles."""

from itertools import pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from deepseek_server.attention.base import CacheSize, PackedBatch, SparseHeads
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.attention.sparse import selection
from deepseek_server.attention.sparse.attention import SparseAttention
from deepseek_server.engine.runner import Chunk
from deepseek_server.models.layers import mla
from deepseek_server.models.layers.sparse import index_inputs
from deepseek_server.models.runners.inputs import step_inputs
from deepseek_server.models.runners.paged import heads_of
from hack.models.families import configuration
from hack.models.tiny import fill
from tests.unit.model_server.attention.largest import Largest

CONTEXT, BLOCK_SIZE, BLOCKS = 90, 8, 40


def tiny(dtype: torch.dtype) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_config(configuration("deepseek-v32"), dtype=torch.float32)
    fill(model, "deepseek-v32")
    return model.to(dtype).eval()


def attention_of(model: PreTrainedModel) -> SparseAttention:
    heads, size = heads_of(model), CacheSize(1, BLOCKS, BLOCK_SIZE)
    assert isinstance(heads, SparseHeads)
    dense = SdpaAttention(heads, size, model.dtype, model.device)
    return SparseAttention(heads, dense, model.dtype, model.device)


@torch.inference_mode()
@pytest.mark.parametrize("tile_bytes", [2**26, 2**13, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_selects_the_same_tokens_as_the_indexer_of_transformers(
    dtype: torch.dtype, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(selection.TILE_BYTES, "cpu", tile_bytes)
    model = tiny(dtype)
    module = model.model.layers[0].self_attn
    topk = module.indexer.index_topk
    torch.manual_seed(0)
    hidden = torch.randn(CONTEXT, model.config.hidden_size, dtype=dtype)
    embeddings = model.model.rotary_emb(hidden[None], torch.arange(CONTEXT)[None])
    low_rank = mla.low_rank(module, hidden)
    causal = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril()[None]
    expected = module.indexer(hidden[None], low_rank[None], embeddings, causal, None)[0]

    paged = attention_of(model)
    blocks = tuple(torch.randperm(BLOCKS)[: -(-CONTEXT // BLOCK_SIZE)].tolist())
    positions = torch.arange(CONTEXT)
    index = index_inputs(module.indexer, hidden, low_rank, positions, embeddings)
    found = []
    for start, end in pairwise((0, 1, 20, 60, 61, 62, CONTEXT)):
        chunks = [Chunk((0,) * (end - start), start, blocks, sample=True)]
        step = step_inputs(chunks, BLOCK_SIZE)
        paged.plan(
            PackedBatch(step.chunks, step.num_decode_tokens, torch.from_numpy(step.slot_mapping))
        )
        paged.choose(0, *(part[start:end] for part in index))
        if end <= topk:
            found += [set(range(position + 1)) for position in range(start, end)]
            continue
        position_of = {
            block * BLOCK_SIZE + offset: number * BLOCK_SIZE + offset
            for number, block in enumerate(blocks)
            for offset in range(BLOCK_SIZE)
        }
        for row in paged._chosen.tolist():
            found.append({position_of[place] for place in row if place >= 0})
            assert len(found[-1]) == sum(place >= 0 for place in row), "each once"
    for position, (mine, theirs) in enumerate(zip(found, expected.tolist(), strict=True)):
        assert mine == {chosen for chosen in theirs if chosen <= position}, position


def test_cache_bytes_match_the_cached_values_of_the_heads() -> None:
    paged = attention_of(tiny(torch.bfloat16))
    heads, config = paged._heads, configuration("deepseek-v32")
    values = config.kv_lora_rank + config.qk_rope_head_dim + config.index_head_dim
    assert heads.cached_values == values
    assert paged.cached_bytes == (BLOCKS + 1) * BLOCK_SIZE * values * 2


@torch.inference_mode()
def test_memory_stays_within_the_budget_for_any_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check the largest tensor that torch's operators return in a step."""
    budget = 2**19
    monkeypatch.setitem(selection.TILE_BYTES, "cpu", budget)
    model = tiny(torch.float32)
    paged, tokens = attention_of(model), 256
    chunk = Chunk((0,) * tokens, 0, tuple(range(tokens // BLOCK_SIZE)), sample=True)
    step = step_inputs([chunk], BLOCK_SIZE)
    paged.plan(
        PackedBatch(step.chunks, step.num_decode_tokens, torch.from_numpy(step.slot_mapping))
    )
    heads = paged._heads
    index = (
        torch.randn(tokens, heads.index_heads, heads.index_dim),
        torch.randn(tokens, heads.index_dim),
        torch.randn(tokens, heads.index_heads),
    )
    width = heads.kv_lora_rank + heads.qk_rope_head_dim
    query, latent = torch.randn(tokens, heads.heads, width), torch.randn(tokens, width)
    with Largest() as largest:
        paged.choose(0, *index)
        paged.latent(0, query, latent)
    returned = tokens * heads.heads * width * 4
    assert returned < budget < tokens * tokens * heads.index_heads * 4
    assert budget // 8 < largest.bytes <= budget
