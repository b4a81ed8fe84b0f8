"""Sharding: the parts cover every parameter, and invalid sizes are rejected."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from deepseek_server.distributed.process_group import RankInfo
from deepseek_server.distributed.sharding import check, check_experts, matrix, part
from deepseek_server.errors import PermanentError
from hack.models.families import PAGED, configuration

LLAMA = {
    "model_type": "llama",
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "intermediate_size": 64,
}
V3 = {
    "model_type": "deepseek_v3",
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "n_routed_experts": 256,
    "moe_intermediate_size": 2048,
}


def message(config: dict, size: int) -> str:
    with pytest.raises(PermanentError) as failure:
        check(config, size)
    return str(failure.value)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_sizes_that_divide(size: int) -> None:
    check(V3, size)
    if size <= 8:
        check(LLAMA, size)


def test_an_invalid_size_is_rejected_with_the_numbers() -> None:
    assert message(LLAMA, 3) == (
        "the model cannot be split over 3 devices, because 3 does not divide its intermediate size "
        "64 and its number of key-value heads 8: use 1, 2, 4 or 8"
    )
    assert "number of attention heads 24 and its number of key-value heads 8" in message(LLAMA, 16)
    assert "experts' intermediate size 2048" in message(V3, 6)
    qwen = {**LLAMA, "model_type": "qwen2", "num_attention_heads": 7, "num_key_value_heads": 1}
    assert message(qwen, 2).endswith("use 1")


def test_models_that_cannot_be_split_are_rejected() -> None:
    assert "a deepseek_v9 model cannot be split over 2 devices" in message(
        {"model_type": "deepseek_v9"}, 2
    )
    assert "a model with attention_bias" in message({**LLAMA, "attention_bias": True}, 2)
    check({"model_type": "deepseek_v9"}, 1)


@pytest.mark.parametrize("family", PAGED)
def test_each_element_is_kept_by_one_rank_or_by_all(family: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(configuration(family))
    whole = set()
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        keepers = torch.zeros(matrix(shape))
        for rank in (0, 1):
            one = part(name, shape, rank, 2)
            for rows in one.rows:
                keepers[rows.start : rows.stop, one.columns.start : one.columns.stop] += 1
        assert keepers.min() == keepers.max(), name
        if keepers.max() == 2:
            whole.add(name.rpartition("layers.")[2].partition(".")[2] or name)
    assert not {name for name in whole if name.endswith(("o_proj.weight", "up_proj.weight"))}
    latent = {"self_attn.q_a_proj.weight", "self_attn.kv_a_proj_with_mqa.weight", "mlp.gate.weight"}
    others = {name for name in whole if "norm" not in name and "embed_tokens" not in name}
    indexer = {f"self_attn.indexer.{name}.weight" for name in ("wk", "wq_b", "weights_proj")}
    kept = (latent if family.startswith("deepseek") else set()) | (
        indexer if family == "deepseek-v32" else set()
    )
    assert others == kept


@given(st.integers(1, 8), st.integers(1, 40))
def test_the_vocabulary_need_not_divide(size: int, vocabulary: int) -> None:
    parts = [part("lm_head.weight", (vocabulary, 3), rank, size) for rank in range(size)]
    assert len({one.shape for one in parts}) == 1, "joined by one operation"
    rows = [row for one in parts for rows in one.rows for row in rows]
    assert rows[:vocabulary] == list(range(vocabulary))


@given(st.integers(1, 4), st.integers(1, 5))
def test_gate_rows_stay_with_their_up_rows(size: int, each: int) -> None:
    inner = size * each
    for rank in range(size):
        one = part("model.layers.0.mlp.experts.gate_up_proj", (8, 2 * inner, 3), rank, size)
        gates, inputs = one.rows if size > 1 else (range(inner), range(inner, 2 * inner))
        assert [row + inner for row in gates] == list(inputs)
        assert list(gates) == list(range(rank * each, (rank + 1) * each))


ENVIRONMENT = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "first",
    "MASTER_PORT": "29500",
}


def test_the_place_is_read_from_the_environment() -> None:
    assert RankInfo.from_environment(ENVIRONMENT) == RankInfo(1, 2, 0, "first", 29500)
    assert RankInfo.from_environment({}) is None
    assert RankInfo.from_environment({"WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"RANK": ""}, "RANK='' and WORLD_SIZE='2': start the processes"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT='http'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
        ({"MASTER_ADDR": ""}, "no MASTER_ADDR: set it to the host of rank 0"),
        ({"RANK": "2"}, "RANK is 2 and WORLD_SIZE 2: number the processes from 0 to 1"),
    ],
)
def test_an_invalid_environment(wrong: dict[str, str], words: str) -> None:
    with pytest.raises(PermanentError, match=words):
        RankInfo.from_environment(ENVIRONMENT | wrong)


def test_unsupported_parts_of_experts_are_rejected() -> None:
    config = {
        "model_type": "deepseek_v3",
        "num_attention_heads": 8,
        "intermediate_size": 256,
        "moe_intermediate_size": 56,
        "n_routed_experts": 4,
    }
    check_experts(config, 2, itemsize=4)
    check_experts(config | {"moe_intermediate_size": 64}, 4, itemsize=4)
    with pytest.raises(PermanentError, match=r"has 56 bytes, .*: use 1 or 2$"):
        check_experts(config, 4, itemsize=4)
    check_experts(config | {"n_routed_experts": None}, 4, itemsize=4)
