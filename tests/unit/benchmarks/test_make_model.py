"""Generated models of a published shape load, compute, and have tokens that can be sent."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.server.client import words
from benchmarks.server.families.tensor import Tensor, Values
from benchmarks.server.model import profiles
from benchmarks.server.model.make_model import weight_bytes, write_model
from benchmarks.server.model.shards import write_shards
from benchmarks.server.model.tensors import tensors
from benchmarks.server.model.tokenizer import BYTES
from deepseek_server.models.loading.checkpoint import inspect
from deepseek_server.models.tokenizer import TokenizerCodec

# Narrow, but with every ratio and every kind of layer of the profile.
NARROW: dict[str, dict[str, Any]] = {
    "tiny": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96},
    "llama-8b": {
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "intermediate_size": 96,
        "vocab_size": 640,
        "bos_token_id": 600,
        "eos_token_id": 601,
    },
    "v2-lite": {
        "num_hidden_layers": 3,
        "hidden_size": 64,
        "intermediate_size": 96,
        "moe_intermediate_size": 24,
        "n_routed_experts": 8,
        "kv_lora_rank": 32,
        "vocab_size": 640,
        "bos_token_id": 600,
        "eos_token_id": 601,
    },
}


def narrow(profile: str) -> dict[str, Any]:
    return profiles.configuration(profile) | NARROW[profile]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(narrow("llama-8b"), tmp_path_factory.mktemp("model") / "llama")


@pytest.mark.parametrize("profile", NARROW)
def test_transformers_finds_every_tensor_and_activations_stay_near_one(
    profile: str, tmp_path: Path
) -> None:
    config = narrow(profile)
    directory = write_model(config, tmp_path)
    inspect(directory)
    sizes = [file.stat().st_size for file in directory.glob("*.safetensors")]
    assert 0 < sum(sizes) - weight_bytes(config) < 100_000  # the headers
    loaded, info = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    with torch.no_grad():
        output = loaded(torch.arange(300, 364)[None], output_hidden_states=True)
    for hidden in output.hidden_states:
        assert 0.5 < float(hidden.std()) < 4
    assert len(set(output.logits[0].argmax(-1).tolist())) > 20  # not always the same token


@pytest.mark.parametrize(
    ("profile", "more", "billions"),
    # Sums of the tensors of these repositories on the hub; of V3 without the multi-token prediction
    # layer (its README_WEIGHTS.md).
    [
        ("qwen-1.5b", {}, 1.777),
        ("qwen-7b", {}, 7.616),
        ("llama-8b", {}, 8.030),
        ("v2-lite", {}, 15.706),
        ("distill-70b-slice", {"num_hidden_layers": 80}, 70.554),
        ("v2-slice", {"num_hidden_layers": 60}, 235.741),
        ("v3-slice", {"num_hidden_layers": 61, "first_k_dense_replace": 3}, 671.026),
    ],
)
def test_a_profile_has_as_many_parameters_as_the_published_model(
    profile: str, more: dict[str, int], billions: float
) -> None:
    every = tensors(profiles.configuration(profile) | more)
    count = sum(one.elements for one in every if not one.name.endswith("_scale_inv"))
    assert count / 1e9 == pytest.approx(billions, abs=6e-4)


def test_fp8_weights_have_scales_for_their_blocks() -> None:
    config = profiles.configuration("v3-slice")
    by_name = {tensor.name: tensor for tensor in tensors(config)}
    name = "model.layers.1.self_attn.kv_a_proj_with_mqa.weight"
    assert (by_name[name].values.dtype, by_name[name].shape) == ("F8_E4M3", (576, 7168))
    factors = by_name[f"{name}_scale_inv"]
    assert (factors.values.dtype, factors.shape) == ("F32", (5, 56))
    kept = {
        one.name.rpartition(".layers.")[2] for one in by_name.values() if one.values.dtype == "BF16"
    }
    assert {name.partition(".")[2] for name in kept if name.startswith("1.")} == {
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
        "self_attn.q_a_layernorm.weight",
        "self_attn.kv_a_layernorm.weight",
        "mlp.gate.weight",
    }


def test_the_whole_v4_flash_has_284_billion_parameters() -> None:
    """Source: its model card (deepseek-ai/DeepSeek-V4-Flash)."""
    layers = {"num_hidden_layers": 43, "num_hash_layers": 3}
    ratios = [0, 0, *[4, 128] * 20, 4]
    config = profiles.configuration("v4-slice") | layers | {"compress_ratios": ratios}
    assert sum(one.elements for one in tensors(config)) / 1e9 == pytest.approx(284, abs=0.5)


def test_an_indexer_is_packed_except_its_head_weights() -> None:
    every = {one.name: one for one in tensors(profiles.configuration("v3.2-slice"))}
    indexer = "model.layers.2.self_attn.indexer"
    packed = {"wq_b.weight", "wk.weight"}
    kept = {"weights_proj.weight", "k_norm.weight", "k_norm.bias"}
    factors = {f"{name}_scale_inv" for name in packed}
    names = {name.removeprefix(f"{indexer}.") for name in every if name.startswith(indexer)}
    assert names == packed | kept | factors
    assert every[f"{indexer}.wq_b.weight"].shape == (64 * 128, 1536)
    assert every[f"{indexer}.wk.weight"].shape == (128, 7168)
    assert every[f"{indexer}.wk.weight_scale_inv"].values.powers  # as V3.1 and V3.2 have them


def test_scales_can_be_powers_of_two_and_experts_differ(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    powers = Values(0.2, mean=1.0, dtype="F32", powers=True)
    experts = Values(dtype="I64", below=16)
    write_shards([Tensor("f", (90, 70), powers), Tensor("e", (500, 4), experts)], tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    exponents = found["f"].log2()
    assert torch.equal(exponents, exponents.round())
    assert {0.5, 1.0} < set(found["f"].unique().tolist())
    assert all(len(row.unique()) == 4 for row in found["e"])
    assert set(found["e"].unique().tolist()) == set(range(16))


def test_the_whole_v3_has_the_published_bytes() -> None:
    config = profiles.configuration("v3-slice") | {"first_k_dense_replace": 3}
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    # The multi-token prediction layer is an additional one, with its own embeddings and head, a
    # projection of two hidden states to one, and three norms (README_WEIGHTS.md of the repository).
    further = 2 * (2 * vocabulary * hidden + 2 * hidden * hidden + 3 * hidden)
    total = weight_bytes(config | {"num_hidden_layers": 62}) + further
    # The weights of deepseek-ai/DeepSeek-V3 on the hub, including headers.
    assert total == pytest.approx(688_586_727_753, rel=1e-4)


def test_a_model_with_fewer_layers() -> None:
    names = {tensor.name for tensor in tensors(profiles.configuration("v2-lite", layers=2))}
    assert "model.layers.1.mlp.experts.63.down_proj.weight" in names
    assert "model.layers.0.mlp.down_proj.weight" in names
    assert not any(name.startswith("model.layers.2.") for name in names)


def test_several_files_contain_the_same_as_one(tmp_path: Path) -> None:
    parts = [Tensor(f"t{number}", (50, 40), Values(1.0)) for number in range(5)]
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    written: list[int] = []
    write_shards(parts, one)
    write_shards(parts, many, written.append, shard_bytes=9000)
    from safetensors.torch import load_file

    index = json.loads((many / "model.safetensors.index.json").read_bytes())
    assert sorted(set(index["weight_map"].values())) == [
        f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)
    ]
    assert sum(written) == index["metadata"]["total_size"] == 5 * 50 * 40 * 2
    whole = load_file(one / "model.safetensors")
    for name, file in index["weight_map"].items():
        tensor = load_file(many / file)[name]
        assert torch.equal(tensor, whole[name])
        assert len(tensor.unique(dim=0)) == 50
        assert float(tensor.float().std()) == pytest.approx(1, abs=0.1)


def test_each_word_of_a_prompt_is_one_token(model: Path) -> None:
    size = 640 - BYTES - 4
    for codec in (TokenizerCodec(model).encode, AutoTokenizer.from_pretrained(model).encode):
        encoded = codec(words.text(range(size)))
        # plus the begin token
        assert len(encoded) == len(set(encoded)) == size + 1
        assert encoded[0] == 600


def test_every_token_is_some_text(model: Path) -> None:
    codec = TokenizerCodec(model)
    special = {600, 601, 602, 603}
    assert all(codec.decode([token]) for token in range(640) if token not in special)
    assert codec.decode(sorted(special)) == ""
    assert codec.eos_token_id == 601


def test_the_model_has_a_chat_template(model: Path) -> None:
    codec = TokenizerCodec(model)
    conversation = [
        {"role": "system", "content": " a"},
        {"role": "user", "content": " b"},
        {"role": "assistant", "content": " c"},
        {"role": "user", "content": " d"},
    ]
    a = 256
    assert codec.encode_chat(conversation) == [600, a, 602, a + 1, 603, a + 2, 601, 602, a + 3, 603]


@given(st.integers(0, 10**6))
def test_words_are_base_26_numbers(number: int) -> None:
    digits = 0
    for letter in words.word(number):
        digits = digits * 26 + "abcdefghijklmnopqrstuvwxyz".index(letter) + 1
    assert digits == number + 1
