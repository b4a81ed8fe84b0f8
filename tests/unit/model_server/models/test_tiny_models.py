from pathlib import Path

import pytest
from transformers import AutoConfig, PreTrainedTokenizerFast
from transformers.models.deepseek_v4.configuration_deepseek_v4 import (
    DEEPSEEK_V4_LAYER_TYPES,
    DEEPSEEK_V4_MLP_LAYER_TYPES,
)

from hack.models.families import CONTEXT, FAMILIES
from hack.models.tiny import make_tiny


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_bytes_every_time(family, tiny, tmp_path: Path) -> None:
    first, second = tiny(family), make_tiny(family, tmp_path / family)
    names = sorted(file.name for file in first.iterdir())
    assert "model.safetensors" in names
    assert names == sorted(file.name for file in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_megabytes_that_any_user_can_read(family, tiny) -> None:
    files = list(tiny(family).iterdir())
    assert sum(file.stat().st_size for file in files) < 5e6
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}


def test_every_feature_of_the_families(tiny) -> None:
    v3, v2 = (AutoConfig.from_pretrained(tiny(f)) for f in ("deepseek-v3", "deepseek-v2"))
    for config in (v3, v2):
        assert config.q_lora_rank
        assert config.kv_lora_rank
        assert config.n_shared_experts
        assert 0 < config.first_k_dense_replace < config.num_hidden_layers
        assert config.n_group > config.topk_group > 1
        assert config.rope_parameters["rope_type"] == "yarn"
    v32, v4 = (AutoConfig.from_pretrained(tiny(f)) for f in ("deepseek-v32", "deepseek-v4"))
    assert v32.index_topk < CONTEXT > v4.index_topk
    assert set(v32.mlp_layer_types) == {"dense", "sparse"}
    assert set(v4.layer_types) == set(DEEPSEEK_V4_LAYER_TYPES)
    assert set(v4.mlp_layer_types) == set(DEEPSEEK_V4_MLP_LAYER_TYPES)
    assert v4.hc_mult > 1 < v4.o_groups
    assert v4.rope_parameters["compress"]["rope_type"] == "yarn"
    for family in ("llama", "qwen2", "qwen3"):
        config = AutoConfig.from_pretrained(tiny(family))
        assert config.num_attention_heads > config.num_key_value_heads > 1
        assert config.max_position_embeddings == CONTEXT


def test_the_tokenizer_keeps_every_text(tiny) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny("llama"))
    for text in ("Who are you?", "Größe 你好 🚀", "a\n\n  b\tc", "\u0000\uffff"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
