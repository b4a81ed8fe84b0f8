"""The tensors of DeepSeek-V4, with the names of deepseek-ai/DeepSeek-V4-Flash, in bfloat16."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.server.families.tensor import (
    CHOICE_BIAS,
    EXPERT_SHARE,
    Tensor,
    Values,
    linear,
    norm,
)

Config = Mapping[str, Any]

# The value of a layer with an indexer in compress_ratios; 0 is a layer with a window only.
_WITH_INDEXER = 4
_PLAIN = Values(1.0)
_SMALL = Values(0.1, dtype="F32")
_NEAR_ONE = Values(0.1, mean=1.0, dtype="F32")


def tensors(config: Config) -> Iterator[Tensor]:
    """Return all tensors in the order of the layers."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield Tensor("embed.weight", (vocabulary, hidden), _PLAIN)
    for number in range(config["num_hidden_layers"]):
        layer = f"layers.{number}"
        yield norm(f"{layer}.attn_norm", hidden)
        yield from _attention(f"{layer}.attn", config, config["compress_ratios"][number])
        yield norm(f"{layer}.ffn_norm", hidden)
        yield from _experts(f"{layer}.ffn", config, hashed=number < config["num_hash_layers"])
        for part in ("attn", "ffn"):
            yield from _connection(f"{layer}.hc_{part}", config)
    yield norm("norm", hidden)
    copies = config["hc_mult"]
    yield from _mixing("hc_head", copies, 1, copies * hidden)
    yield linear("head", vocabulary, hidden)


def _attention(name: str, config: Config, ratio: int) -> Iterator[Tensor]:
    hidden, heads, size = config["hidden_size"], config["num_attention_heads"], config["head_dim"]
    rank, groups = config["q_lora_rank"], config["o_groups"]
    outputs = groups * config["o_lora_rank"]
    yield Tensor(f"{name}.attn_sink", (heads,), _SMALL)
    yield linear(f"{name}.wq_a", rank, hidden)
    yield norm(f"{name}.q_norm", rank)
    yield linear(f"{name}.wq_b", heads * size, rank)
    yield linear(f"{name}.wkv", size, hidden)
    yield norm(f"{name}.kv_norm", size)
    yield linear(f"{name}.wo_a", outputs, heads * size // groups)
    yield linear(f"{name}.wo_b", hidden, outputs)
    if ratio:
        yield from _compressor(f"{name}.compressor", hidden, size, ratio)
    if ratio == _WITH_INDEXER:
        of_indexer = config["index_head_dim"]
        yield from _compressor(f"{name}.indexer.compressor", hidden, of_indexer, ratio)
        yield linear(f"{name}.indexer.weights_proj", config["index_n_heads"], hidden)
        yield linear(f"{name}.indexer.wq_b", config["index_n_heads"] * of_indexer, rank)


def _compressor(name: str, hidden: int, size: int, ratio: int) -> Iterator[Tensor]:
    # In layers with an indexer, entries overlap, so each token contributes to two.
    width = 2 * size if ratio == _WITH_INDEXER else size
    yield Tensor(f"{name}.ape", (ratio, width), _SMALL)
    yield norm(f"{name}.norm", size)
    yield linear(f"{name}.wgate", width, hidden)
    yield linear(f"{name}.wkv", width, hidden)


def _experts(name: str, config: Config, *, hashed: bool) -> Iterator[Tensor]:
    hidden, size = config["hidden_size"], config["moe_intermediate_size"]
    count = config["n_routed_experts"]
    yield linear(f"{name}.gate", count, hidden)
    if hashed:
        chosen = (config["vocab_size"], config["num_experts_per_tok"])
        yield Tensor(f"{name}.gate.tid2eid", chosen, Values(dtype="I64", below=count))
    else:
        yield Tensor(f"{name}.gate.bias", (count,), CHOICE_BIAS)
    for number in range(count):
        yield from _feed_forward(f"{name}.experts.{number}", hidden, size, EXPERT_SHARE)
    shared = size * config["n_shared_experts"]
    yield from _feed_forward(f"{name}.shared_experts", hidden, shared, 1.0)


def _feed_forward(name: str, hidden: int, size: int, share: float) -> Iterator[Tensor]:
    yield linear(f"{name}.w1", size, hidden)
    yield linear(f"{name}.w3", size, hidden)
    yield linear(f"{name}.w2", hidden, size, share)


def _connection(name: str, config: Config) -> Iterator[Tensor]:
    """Return the tensors that mix the copies of the residual stream: in, out, and among them."""
    copies = config["hc_mult"]
    yield from _mixing(name, copies * (copies + 2), 3, copies * config["hidden_size"])


def _mixing(name: str, outputs: int, scales: int, columns: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}_fn", (outputs, columns), Values(columns**-0.5, dtype="F32"))
    yield Tensor(f"{name}_base", (outputs,), _SMALL)
    yield Tensor(f"{name}_scale", (scales,), _NEAR_ONE)
