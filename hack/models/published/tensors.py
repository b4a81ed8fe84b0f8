"""The tensors of a published checkpoint of the V3 family: names, types and shapes.

They are taken from the checkpoints' own description, not derived from the server's rules, so that
each can be checked against the other: https://github.com/deepseek-ai/DeepSeek-V3, README_WEIGHTS.md,
and the tensors of R1's repository (91,991; the last layer has its own copies of embedding and head).
The types of V3.2's indexer are those of the reference code beside its weights.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
Shape = tuple[int, ...]

# What the repositories of V3, R1 and V3.1 hold: bytes of their safetensors files, and tensors in them.
# Read in public lists of the files (https://huggingface.co/deepseek-ai/DeepSeek-R1/tree/main), not there.
PUBLISHED_BYTES, PUBLISHED_TENSORS = 688_586_727_753, 91_991
# What these tensors sum up to: all but the headers of the files.
TENSOR_BYTES = 688_574_839_360

FP8, BF16, F32 = "F8_E4M3", "BF16", "F32"
BYTES = {FP8: 1, BF16: 2, F32: 4}
BLOCK = 128


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint.

    Attributes:
        name: Its name in the files.
        dtype: Its type as named in a safetensors header.
        shape: Its dimensions.
    """

    name: str
    dtype: str
    shape: Shape

    @property
    def elements(self) -> int:
        """Return its number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Return its size in bytes."""
        return self.elements * BYTES[self.dtype]


def embedding(config: Config) -> Iterator[Tensor]:
    """Yield the tensors before the first layer."""
    yield Tensor("model.embed_tokens.weight", BF16, (config["vocab_size"], config["hidden_size"]))


def head(config: Config) -> Iterator[Tensor]:
    """Yield the tensors after the last layer."""
    yield _norm("model.norm", config["hidden_size"])
    yield Tensor("lm_head.weight", BF16, (config["vocab_size"], config["hidden_size"]))


def layer(config: Config, number: int) -> Iterator[Tensor]:
    """Yield the tensors of a layer; those after `num_hidden_layers` predict further tokens."""
    name, hidden = f"model.layers.{number}", config["hidden_size"]
    yield _norm(f"{name}.input_layernorm", hidden)
    yield from _attention(f"{name}.self_attn", config)
    yield _norm(f"{name}.post_attention_layernorm", hidden)
    if number < config["first_k_dense_replace"]:
        yield from _feed_forward(f"{name}.mlp", hidden, config["intermediate_size"])
    else:
        yield from _mixture(f"{name}.mlp", config)
    if number >= config["num_hidden_layers"]:
        yield from _predictor(name, config)


def tensors(config: Config) -> Iterator[Tensor]:
    """Yield all tensors."""
    yield from embedding(config)
    for number in range(layers(config)):
        yield from layer(config, number)
    yield from head(config)


def layers(config: Config) -> int:
    """Return the number of layers in the files."""
    return int(config["num_hidden_layers"] + config["num_nextn_predict_layers"])


def _predictor(name: str, config: Config) -> Iterator[Tensor]:
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield Tensor(f"{name}.embed_tokens.weight", BF16, (vocabulary, hidden))
    yield _norm(f"{name}.enorm", hidden)
    yield _norm(f"{name}.hnorm", hidden)
    yield Tensor(f"{name}.eh_proj.weight", BF16, (hidden, 2 * hidden))
    yield _norm(f"{name}.shared_head.norm", hidden)
    yield Tensor(f"{name}.shared_head.head.weight", BF16, (vocabulary, hidden))


def _attention(name: str, config: Config) -> Iterator[Tensor]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    query, rank = config["q_lora_rank"], config["kv_lora_rank"]
    nope, rope = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    value = config["v_head_dim"]
    yield from _packed(f"{name}.q_a_proj", query, hidden)
    yield _norm(f"{name}.q_a_layernorm", query)
    yield from _packed(f"{name}.q_b_proj", heads * (nope + rope), query)
    yield from _packed(f"{name}.kv_a_proj_with_mqa", rank + rope, hidden)
    yield _norm(f"{name}.kv_a_layernorm", rank)
    yield from _packed(f"{name}.kv_b_proj", heads * (nope + value), rank)
    yield from _packed(f"{name}.o_proj", hidden, heads * value)
    if "index_n_heads" in config:
        yield from _indexer(f"{name}.indexer", config)


def _indexer(name: str, config: Config) -> Iterator[Tensor]:
    hidden, heads, width = config["hidden_size"], config["index_n_heads"], config["index_head_dim"]
    yield from _packed(f"{name}.wq_b", heads * width, config["q_lora_rank"])
    yield from _packed(f"{name}.wk", width, hidden)
    yield Tensor(f"{name}.k_norm.weight", F32, (width,))
    yield Tensor(f"{name}.k_norm.bias", F32, (width,))
    yield Tensor(f"{name}.weights_proj.weight", BF16, (heads, hidden))


def _mixture(name: str, config: Config) -> Iterator[Tensor]:
    hidden, width = config["hidden_size"], config["moe_intermediate_size"]
    experts = config["n_routed_experts"]
    yield Tensor(f"{name}.gate.weight", BF16, (experts, hidden))
    yield Tensor(f"{name}.gate.e_score_correction_bias", F32, (experts,))
    yield from _feed_forward(f"{name}.shared_experts", hidden, width * config["n_shared_experts"])
    for number in range(experts):
        yield from _feed_forward(f"{name}.experts.{number}", hidden, width)


def _feed_forward(name: str, hidden: int, width: int) -> Iterator[Tensor]:
    yield from _packed(f"{name}.gate_proj", width, hidden)
    yield from _packed(f"{name}.up_proj", width, hidden)
    yield from _packed(f"{name}.down_proj", hidden, width)


def _packed(name: str, rows: int, columns: int) -> Iterator[Tensor]:
    """Yield an fp8 matrix and the scales of its blocks."""
    yield Tensor(f"{name}.weight", FP8, (rows, columns))
    yield Tensor(f"{name}.weight_scale_inv", F32, (-(-rows // BLOCK), -(-columns // BLOCK)))


def _norm(name: str, size: int) -> Tensor:
    return Tensor(f"{name}.weight", BF16, (size,))
