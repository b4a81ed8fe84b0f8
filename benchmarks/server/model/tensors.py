"""The tensors of a configuration's checkpoint, by their names on the hub."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.server.families import deepseek_v4
from benchmarks.server.families.tensor import (
    BIAS,
    CHOICE_BIAS,
    EXPERT_SHARE,
    Tensor,
    Values,
    linear,
    norm,
)

Config = Mapping[str, Any]

FACTORS = "_scale_inv"  # name suffix of an fp8 matrix's scales
BLOCK = 128  # rows and columns of an fp8 matrix that share a scale
# The matrices that DeepSeek ships in fp8 (deepseek-ai/DeepSeek-V3, README_WEIGHTS.md, and
# deepseek-ai/DeepSeek-V3.2-Exp, model.safetensors.index.json).
_PACKED = re.compile(
    r".*\.((q|q_a|q_b|kv_b|o|gate|up|down)_proj|kv_a_proj_with_mqa|indexer\.w(q_b|k))\.weight"
)
# The largest values of a block are close to 448, the maximum of the format.
PACKED = Values(96.0, dtype="F8_E4M3")
FACTOR_SPREAD = 0.2  # standard deviation of the scales, as a share of their mean


def tensors(config: Config) -> Iterator[Tensor]:
    """Return all tensors in the order of the layers; tied embeddings once."""
    packing = config.get("quantization_config")
    for tensor in _plain(config):
        if packing and _PACKED.fullmatch(tensor.name):
            yield from _packed(tensor, powers=packing.get("scale_fmt") == "ue8m0")
        else:
            yield tensor


def _packed(tensor: Tensor, *, powers: bool) -> Iterator[Tensor]:
    """Return an fp8 matrix and its scales, whose product has the spread of the plain matrix."""
    mean = tensor.values.scale / PACKED.scale
    factors = Values(FACTOR_SPREAD * mean, mean, "F32", powers)
    blocks = tuple(-(-length // BLOCK) for length in tensor.shape)
    yield Tensor(tensor.name, tensor.shape, PACKED)
    yield Tensor(f"{tensor.name}{FACTORS}", blocks, factors)


def _plain(config: Config) -> Iterator[Tensor]:
    """Return all tensors before quantisation to fp8."""
    if config["model_type"] == "deepseek_v4":
        yield from deepseek_v4.tensors(config)
        return
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield Tensor("model.embed_tokens.weight", (vocabulary, hidden), Values(1.0))
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        yield norm(f"{layer}.input_layernorm", hidden)
        yield from _attention(f"{layer}.self_attn", config)
        yield norm(f"{layer}.post_attention_layernorm", hidden)
        if is_routed(config, number):
            yield from _experts(f"{layer}.mlp", config)
        else:
            yield from _feed_forward(f"{layer}.mlp", hidden, config["intermediate_size"])
    yield norm("model.norm", hidden)
    if not config.get("tie_word_embeddings"):
        yield linear("lm_head", vocabulary, hidden)


def is_routed(config: Config, layer: int) -> bool:
    """Return whether a layer's feed-forward part consists of experts."""
    return bool(config.get("n_routed_experts")) and layer >= config["first_k_dense_replace"]


def head_dim(config: Config) -> int:
    """Return the size of a head of grouped-query attention."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _attention(name: str, config: Config) -> Iterator[Tensor]:
    if "kv_lora_rank" in config:
        yield from _latent_attention(name, config)
        return
    hidden, size = config["hidden_size"], head_dim(config)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    biased = config["model_type"] == "qwen2"
    for part, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        yield linear(f"{name}.{part}_proj", rows * size, hidden)
        if biased:
            yield Tensor(f"{name}.{part}_proj.bias", (rows * size,), BIAS)
    yield linear(f"{name}.o_proj", hidden, heads * size)


def _latent_attention(name: str, config: Config) -> Iterator[Tensor]:
    hidden, heads, rank = (
        config["hidden_size"],
        config["num_attention_heads"],
        config["kv_lora_rank"],
    )
    nope, rope, value = (
        config["qk_nope_head_dim"],
        config["qk_rope_head_dim"],
        config["v_head_dim"],
    )
    if query_rank := config.get("q_lora_rank"):
        yield linear(f"{name}.q_a_proj", query_rank, hidden)
        yield norm(f"{name}.q_a_layernorm", query_rank)
        yield linear(f"{name}.q_b_proj", heads * (nope + rope), query_rank)
    else:
        yield linear(f"{name}.q_proj", heads * (nope + rope), hidden)
    yield linear(f"{name}.kv_a_proj_with_mqa", rank + rope, hidden)
    yield norm(f"{name}.kv_a_layernorm", rank)
    yield linear(f"{name}.kv_b_proj", heads * (nope + value), rank)
    yield linear(f"{name}.o_proj", hidden, heads * value)
    if "index_topk" in config:
        yield from _indexer(f"{name}.indexer", config)


def _indexer(name: str, config: Config) -> Iterator[Tensor]:
    hidden, heads, size = config["hidden_size"], config["index_n_heads"], config["index_head_dim"]
    yield linear(f"{name}.wq_b", heads * size, config["q_lora_rank"])
    yield linear(f"{name}.wk", size, hidden)
    yield norm(f"{name}.k_norm", size)
    yield Tensor(f"{name}.k_norm.bias", (size,), BIAS)
    yield linear(f"{name}.weights_proj", heads, hidden)


def _experts(name: str, config: Config) -> Iterator[Tensor]:
    hidden, size = config["hidden_size"], config["moe_intermediate_size"]
    yield linear(f"{name}.gate", config["n_routed_experts"], hidden)
    if config.get("topk_method") == "noaux_tc":
        shape = (config["n_routed_experts"],)
        yield Tensor(f"{name}.gate.e_score_correction_bias", shape, CHOICE_BIAS)
    for number in range(config["n_routed_experts"]):
        yield from _feed_forward(f"{name}.experts.{number}", hidden, size, EXPERT_SHARE)
    if shared := config.get("n_shared_experts"):
        yield from _feed_forward(f"{name}.shared_experts", hidden, size * shared)


def _feed_forward(name: str, hidden: int, size: int, share: float = 1.0) -> Iterator[Tensor]:
    yield linear(f"{name}.gate_proj", size, hidden)
    yield linear(f"{name}.up_proj", size, hidden)
    yield linear(f"{name}.down_proj", hidden, size, share)
