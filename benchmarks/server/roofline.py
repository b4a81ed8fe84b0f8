"""Roofline limits: the speed that a device's memory and arithmetic allow a model.

A decode step reads every weight that it uses once and the cached keys and values of every sequence
once. A token needs two operations for each weight that it uses, and two for each number that it
attends over, twice. No step is faster than its bytes at the memory's rate, nor than its operations
at the arithmetic's: the roofline of Williams, Waterman and Patterson,
"Roofline: an insightful visual performance model", CACM 52(4), 2009.

Weights are read as stored: fp8 weights with the scales of their blocks. With a model that is split
over several devices, each reads its share; the time of the all-reduces is not counted. Activations,
norms and the rows of the embedding are ignored because they are comparatively small.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.server.accelerators import Accelerator
from benchmarks.server.failures import BenchError
from benchmarks.server.families.tensor import Tensor
from benchmarks.server.model.tensors import FACTORS, head_dim, is_routed, tensors
from benchmarks.server.report.summary import RATE
from deepseek_server.distributed.sharding import part

BYTES = 2  # of a bfloat16, the type of the cache


@dataclass(frozen=True)
class Weights:
    """Some of a model's weights.

    Attributes:
        count: number of weights.
        bytes: their bytes, including scales.
    """

    count: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Weights") -> "Weights":
        return Weights(self.count + other.count, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Weights":
        return Weights(self.count * times, self.bytes * times)


@dataclass(frozen=True)
class Attention:
    """Cost of attention, over all layers.

    Attributes:
        cached: cached numbers per token that other tokens attend to.
        products: products of a token for each token that it attends to.
        products_in_prompt: the same in prefill, where latent attention is cheaper expanded.
        most: maximum number of tokens that a token attends to; None for all.
        indexed: cached numbers per token for an indexer, which reads all tokens.
        index_products: products of an indexer for each token.
    """

    cached: float
    products: float
    products_in_prompt: float
    most: int | None = None
    indexed: float = 0.0
    index_products: float = 0.0

    def read(self, context: float) -> float:
        """Return the cached numbers that a token reads."""
        return self._attended(context) * self.cached + context * self.indexed

    def operations(self, context: float, *, in_prompt: bool = False) -> float:
        """Return the products of a token with the tokens before it."""
        products = self.products_in_prompt if in_prompt else self.products
        return self._attended(context) * products + context * self.index_products

    def _attended(self, context: float) -> float:
        return context if self.most is None else min(context, self.most)


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model, or of one device's part of it, that determine its speed.

    Attributes:
        shared: weights that every token uses, including those of the head.
        head: weights of the output head; in a prompt only the last token uses them.
        expert: weights of one routed expert of one layer.
        experts: routed experts per layer, 0 if there are none.
        chosen: routed experts per token and layer.
        routed_layers: number of layers with routed experts.
        attention: cost of attention.
        packed: whether products with weights other than the head's are in fp8.
    """

    shared: Weights
    head: Weights
    expert: Weights
    experts: int
    chosen: int
    routed_layers: int
    attention: Attention
    packed: bool

    @property
    def active(self) -> Weights:
        """Weights that a token uses."""
        return self.shared + self.expert * (self.routed_layers * self.chosen)

    def experts_read(self, tokens: int) -> float:
        """Return the mean number of routed experts per layer that a step of `tokens` reads.

        Routing is assumed to be random, so the probability that no token selects an expert is
        (1 - chosen / experts) ** tokens. Selection within groups of experts does not change the
        probability of a single expert, nor the mean.
        """
        if not self.experts:
            return 0.0
        return self.experts * (1 - (1 - self.chosen / self.experts) ** tokens)

    def read(self, tokens: int) -> Weights:
        """Return the weights that a step of `tokens` reads."""
        return self.shared + self.expert * (self.routed_layers * self.experts_read(tokens))

    def seconds(self, device: Accelerator, tokens: float, outputs: float) -> float:
        """Return the time of the products of tokens and outputs with weights."""
        body = device.flops_fp8 if self.packed else device.flops
        in_body = tokens * (self.active.count - self.head.count)
        return 2 * (in_body / body + outputs * self.head.count / device.flops)


def shape(config: Mapping[str, Any], ranks: int = 1) -> Shape:
    """Return the shape of a configuration.

    Args:
        config: configuration of the model.
        ranks: devices that the model is split over; the shape is that of one device's part.

    Raises:
        BenchError: the cost of its kind of attention is not implemented.
    """
    if "compress_ratios" in config:
        raise BenchError(
            f"the cost of a {config['model_type']} model's attention is not implemented: choose "
            "another model"
        )
    layers = config["num_hidden_layers"]
    routed, met = Weights(), Weights()
    for tensor in tensors(config):
        if ".experts." in tensor.name:
            routed += _weights(tensor) * (1 / ranks)
        elif tensor.name != "model.embed_tokens.weight":  # a token reads only one row of it
            met += _weights(tensor) * _share(tensor.name, ranks)
    size = config["vocab_size"] * config["hidden_size"]
    head = Weights(size, BYTES * size)
    if config.get("tie_word_embeddings"):
        met += head
    else:
        head *= 1 / ranks
    experts = config.get("n_routed_experts") or 0
    routed_layers = sum(is_routed(config, layer) for layer in range(layers))
    return Shape(
        shared=met,
        head=head,
        expert=routed * (1 / (routed_layers * experts)) if routed_layers else Weights(),
        experts=experts if routed_layers else 0,
        chosen=config.get("num_experts_per_tok") or 0,
        routed_layers=routed_layers,
        attention=_attention(config, ranks),
        packed=bool(config.get("quantization_config")),
    )


def _weights(tensor: Tensor) -> Weights:
    return Weights(0 if tensor.name.endswith(FACTORS) else tensor.elements, tensor.bytes)


def _share(name: str, ranks: int) -> float:
    """Return the share of a tensor that one of several devices keeps."""
    rows, columns = part(name.removesuffix(FACTORS), (ranks, ranks), 0, ranks).shape
    return rows * columns / ranks**2


def _attention(config: Mapping[str, Any], ranks: int) -> Attention:
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"] / ranks
    if "kv_lora_rank" not in config:
        size = head_dim(config)
        cached = layers * 2 * config["num_key_value_heads"] / ranks * size
        products = layers * 2 * heads * size
        return Attention(cached, products, products)
    rank, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
    expanded = config["qk_nope_head_dim"] + rope + config["v_head_dim"]
    plain = Attention(
        cached=layers * (rank + rope),
        products=layers * heads * (2 * rank + rope),
        products_in_prompt=layers * heads * expanded,
    )
    if "index_topk" not in config:
        return plain
    index = config["index_head_dim"]
    return replace(
        plain,
        most=config["index_topk"],
        indexed=layers * index,
        index_products=layers * config["index_n_heads"] * index,
    )


def decode_bytes(model: Shape, at_once: int, context: float) -> float:
    """Return the bytes that a decode step reads.

    Args:
        model: shape of the model.
        at_once: number of sequences.
        context: mean tokens of a sequence.
    """
    return model.read(at_once).bytes + BYTES * at_once * model.attention.read(context)


def decode_seconds(model: Shape, device: Accelerator, at_once: int, context: float) -> float:
    """Return the minimum time of a decode step.

    Args:
        model: shape of the model.
        device: the accelerator.
        at_once: number of sequences.
        context: mean tokens of a sequence.
    """
    reading = decode_bytes(model, at_once, context) / device.bytes_per_second
    attending = 2 * at_once * model.attention.operations(context) / device.flops
    return max(reading, model.seconds(device, at_once, at_once) + attending)


def prefill_seconds(model: Shape, device: Accelerator, prompts: int, tokens: int) -> float:
    """Return the minimum time to prefill prompts in one step.

    Args:
        model: shape of the model.
        device: the accelerator.
        prompts: number of prompts.
        tokens: tokens of each prompt.
    """
    count = prompts * tokens
    reading = model.read(count).bytes / device.bytes_per_second
    # A token attends to the preceding ones, half of the prompt on average.
    products = model.attention.operations(tokens / 2, in_prompt=True)
    return max(reading, model.seconds(device, count, prompts) + 2 * count * products / device.flops)


def closed_limit(
    config: Mapping[str, Any],
    device: Accelerator,
    at_once: int,
    prompt: int,
    answer: int,
    ranks: int = 1,
) -> dict[str, Any]:
    """Return the limits of a closed load of fixed lengths.

    Args:
        config: configuration of the model.
        device: the accelerator.
        at_once: number of concurrent requests.
        prompt: tokens of each prompt.
        answer: tokens of each answer.
        ranks: number of such devices that the model is split over.
    """
    model = shape(config, ranks)
    prefill = prefill_seconds(model, device, at_once, prompt)
    context = prompt + answer / 2
    decode = (answer - 1) * decode_seconds(model, device, at_once, context)
    return {
        "accelerator": device.name,
        "decode_step_gb": round(decode_bytes(model, at_once, context) / 1e9, 4),
        "experts_read": round(model.experts_read(at_once), 1),
        "decode_step_ms": round(1e3 * decode / max(answer - 1, 1), 4),
        "decode_tokens_per_second": round(at_once * (answer - 1) / decode, 1) if decode else None,
        "prefill_ms": round(1e3 * prefill, 3),
        RATE: round(at_once * answer / (prefill + decode), 1),
    }
