"""Which tensors a checkpoint of a configuration holds, by the names that they have on the hub."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

BIAS_SCALE = 0.1


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint.

    Attributes:
        name: as in the checkpoint.
        shape: as in the checkpoint.
        scale: the standard deviation of random values that keep activations near 1 in every
            layer; None: all ones.
    """

    name: str
    shape: tuple[int, ...]
    scale: float | None

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def tensors(config: Config) -> Iterator[Tensor]:
    """All tensors, in the order of the layers; those of tied embeddings once."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield Tensor("model.embed_tokens.weight", (vocabulary, hidden), 1.0)
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        yield _norm(f"{layer}.input_layernorm", hidden)
        yield from _attention(f"{layer}.self_attn", config)
        yield _norm(f"{layer}.post_attention_layernorm", hidden)
        if is_routed(config, number):
            yield from _experts(f"{layer}.mlp", config)
        else:
            yield from _feed_forward(f"{layer}.mlp", hidden, config["intermediate_size"])
    yield _norm("model.norm", hidden)
    if not config.get("tie_word_embeddings"):
        yield _linear("lm_head", vocabulary, hidden)


def is_routed(config: Config, layer: int) -> bool:
    """Whether a layer's feed-forward part consists of experts."""
    return bool(config.get("n_routed_experts")) and layer >= config["first_k_dense_replace"]


def head_dim(config: Config) -> int:
    """Numbers of one head of grouped-query attention."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _linear(name: str, rows: int, columns: int) -> Tensor:
    # Outputs of a variance like the inputs'.
    return Tensor(f"{name}.weight", (rows, columns), columns**-0.5)


def _norm(name: str, size: int) -> Tensor:
    return Tensor(f"{name}.weight", (size,), None)


def _attention(name: str, config: Config) -> Iterator[Tensor]:
    if "kv_lora_rank" in config:
        yield from _latent_attention(name, config)
        return
    hidden, size = config["hidden_size"], head_dim(config)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    biased = config["model_type"] == "qwen2"
    for part, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        yield _linear(f"{name}.{part}_proj", rows * size, hidden)
        if biased:
            yield Tensor(f"{name}.{part}_proj.bias", (rows * size,), BIAS_SCALE)
    yield _linear(f"{name}.o_proj", hidden, heads * size)


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
        yield _linear(f"{name}.q_a_proj", query_rank, hidden)
        yield _norm(f"{name}.q_a_layernorm", query_rank)
        yield _linear(f"{name}.q_b_proj", heads * (nope + rope), query_rank)
    else:
        yield _linear(f"{name}.q_proj", heads * (nope + rope), hidden)
    yield _linear(f"{name}.kv_a_proj_with_mqa", rank + rope, hidden)
    yield _norm(f"{name}.kv_a_layernorm", rank)
    yield _linear(f"{name}.kv_b_proj", heads * (nope + value), rank)
    yield _linear(f"{name}.o_proj", hidden, heads * value)


def _experts(name: str, config: Config) -> Iterator[Tensor]:
    hidden, size = config["hidden_size"], config["moe_intermediate_size"]
    yield _linear(f"{name}.gate", config["n_routed_experts"], hidden)
    for number in range(config["n_routed_experts"]):
        yield from _feed_forward(f"{name}.experts.{number}", hidden, size)
    if shared := config.get("n_shared_experts"):
        yield from _feed_forward(f"{name}.shared_experts", hidden, size * shared)


def _feed_forward(name: str, hidden: int, size: int) -> Iterator[Tensor]:
    yield _linear(f"{name}.gate_proj", size, hidden)
    yield _linear(f"{name}.up_proj", size, hidden)
    yield _linear(f"{name}.down_proj", hidden, size)
