"""What a device's memory and arithmetic allow a model, whatever the software.

A step of decoding reads every weight that it uses once and the cached keys and values of every
sequence once; a token takes two operations for each weight that it meets, and two for each number
that it attends over, twice. No step is faster than its bytes at the memory's rate, nor than its
operations at the arithmetic's: the roofline of Williams, Waterman and Patterson,
"Roofline: an insightful visual performance model", CACM 52(4), 2009.

Weights are read as they are stored: those in eight bits with the factors of their blocks. A model
that is split over several devices takes each its share, and the time of their sums is not counted;
neither are, because small beside these, activations, norms and the rows of the embedding.
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

BYTES = 2  # of a bfloat16, which the cache holds


@dataclass(frozen=True)
class Weights:
    """Some of a model's weights.

    Attributes:
        count: how many.
        bytes: how many bytes they take, factors among them.
    """

    count: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Weights") -> "Weights":
        return Weights(self.count + other.count, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Weights":
        return Weights(self.count * times, self.bytes * times)


@dataclass(frozen=True)
class Attention:
    """What attention costs, in all layers together.

    Attributes:
        cached: numbers that a token leaves in the cache and others attend to.
        products: products that a token takes for each token that it attends to.
        products_in_prompt: the same within a prompt, where latent attention is cheaper expanded.
        most: tokens that a token attends to at most; None: all.
        indexed: numbers that a token leaves in the cache for an indexer, which looks at all.
        index_products: products that an indexer takes for each of them.
    """

    cached: float
    products: float
    products_in_prompt: float
    most: int | None = None
    indexed: float = 0.0
    index_products: float = 0.0

    def read(self, context: float) -> float:
        """Numbers that a token reads of the tokens before it."""
        return self._attended(context) * self.cached + context * self.indexed

    def operations(self, context: float, *, in_prompt: bool = False) -> float:
        """Products that a token takes with the tokens before it."""
        products = self.products_in_prompt if in_prompt else self.products
        return self._attended(context) * products + context * self.index_products

    def _attended(self, context: float) -> float:
        return context if self.most is None else min(context, self.most)


@dataclass(frozen=True)
class Shape:
    """A model, or what one of several devices has of it, as far as its speed goes.

    Attributes:
        shared: weights that every token meets, those of the head among them.
        head: weights that make outputs; of a prompt only the last token meets them.
        expert: weights of one routed expert of one layer.
        experts: routed experts of a layer, 0 if there are none.
        chosen: routed experts that a token meets in a layer.
        routed_layers: layers with routed experts.
        attention: what attention costs.
        packed: whether products with weights are of eight bits, but for the head's.
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
        """Weights that a token meets."""
        return self.shared + self.expert * (self.routed_layers * self.chosen)

    def experts_read(self, tokens: int) -> float:
        """Routed experts of a layer that a step of so many tokens reads, in the mean.

        Each token chooses as if at random, so an expert is left out by all with the probability
        (1 - chosen / experts) ** tokens. Where a token chooses within groups of experts, that of
        each single expert is the same, and so is the mean.
        """
        if not self.experts:
            return 0.0
        return self.experts * (1 - (1 - self.chosen / self.experts) ** tokens)

    def read(self, tokens: int) -> Weights:
        """Weights that a step of so many tokens reads."""
        return self.shared + self.expert * (self.routed_layers * self.experts_read(tokens))

    def seconds(self, device: Accelerator, tokens: float, outputs: float) -> float:
        """The time of the products of so many tokens and outputs with weights."""
        body = device.flops_fp8 if self.packed else device.flops
        in_body = tokens * (self.active.count - self.head.count)
        return 2 * (in_body / body + outputs * self.head.count / device.flops)


def shape(config: Mapping[str, Any], ranks: int = 1) -> Shape:
    """The shape of a configuration.

    Args:
        config: of the model.
        ranks: devices that it is split over; the shape is that of what one of them has.

    Raises:
        BenchError: its attention is of a kind whose cost is not known here.
    """
    if "compress_ratios" in config:
        raise BenchError(
            f"what attention of a {config['model_type']} model must read is not known here: take "
            "another model"
        )
    layers = config["num_hidden_layers"]
    routed, met = Weights(), Weights()
    for tensor in tensors(config):
        if ".experts." in tensor.name:
            routed += _weights(tensor) * (1 / ranks)
        elif tensor.name != "model.embed_tokens.weight":  # of which a token reads one row
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
    """What of a tensor one of several devices keeps."""
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
    """Bytes that a step reads that gives each of so many sequences a token.

    Args:
        model: its shape.
        at_once: sequences.
        context: tokens that each has in the mean.
    """
    return model.read(at_once).bytes + BYTES * at_once * model.attention.read(context)


def decode_seconds(model: Shape, device: Accelerator, at_once: int, context: float) -> float:
    """The least time of a step that gives each of so many sequences a token.

    Args:
        model: its shape.
        device: what it runs on.
        at_once: sequences.
        context: tokens that each has in the mean.
    """
    reading = decode_bytes(model, at_once, context) / device.bytes_per_second
    attending = 2 * at_once * model.attention.operations(context) / device.flops
    return max(reading, model.seconds(device, at_once, at_once) + attending)


def prefill_seconds(model: Shape, device: Accelerator, prompts: int, tokens: int) -> float:
    """The least time to compute so many prompts of so many tokens, all in one step.

    Args:
        model: its shape.
        device: what it runs on.
        prompts: how many.
        tokens: of each.
    """
    count = prompts * tokens
    reading = model.read(count).bytes / device.bytes_per_second
    # A token attends to those before it, half of the prompt in the mean.
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
    """What a closed load of fixed lengths can reach, and why not more.

    Args:
        config: of the model.
        device: what it runs on.
        at_once: requests at once.
        prompt: tokens of each prompt.
        answer: tokens of each answer.
        ranks: devices that the model is split over; each is such a device.
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
