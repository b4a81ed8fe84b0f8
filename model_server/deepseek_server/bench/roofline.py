"""What a device's memory and arithmetic allow a model, whatever the software.

A step of decoding reads every weight that it uses once and the cached keys and values of every
sequence once; a token takes two operations for each weight that it meets, and two for each number
that it attends over, twice. No step is faster than its bytes at the memory's rate, nor than its
operations at the arithmetic's: the roofline of Williams, Waterman and Patterson,
"Roofline: an insightful visual performance model", CACM 52(4), 2009.

Not counted, because small beside these: activations, norms, the rows of the embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepseek_server.bench.accelerators import Accelerator
from deepseek_server.bench.summary import RATE
from deepseek_server.bench.tensors import Tensor, head_dim, is_routed, tensors

BYTES = 2  # of a bfloat16


@dataclass(frozen=True)
class Shape:
    """A model, as far as its speed goes.

    Attributes:
        shared: weights that every token meets, those of the head among them.
        head: weights that make outputs; of a prompt only the last token meets them.
        expert: weights of one routed expert of one layer.
        experts: routed experts of a layer, 0 if there are none.
        chosen: routed experts that a token meets in a layer.
        routed_layers: layers with routed experts.
        cached: numbers that a token leaves in the cache, in all layers.
        attended: products that a token takes for each token that it attends to, in all layers.
        attended_in_prompt: the same within a prompt, where latent attention is cheaper expanded.
    """

    shared: int
    head: int
    expert: int
    experts: int
    chosen: int
    routed_layers: int
    cached: int
    attended: int
    attended_in_prompt: int

    @property
    def active(self) -> int:
        """Weights that a token meets."""
        return self.shared + self.routed_layers * self.chosen * self.expert

    def weights_read(self, tokens: int) -> float:
        """Weights that a step of so many tokens reads.

        Each token chooses experts as if at random, so an expert is left out by all with the
        probability (1 - chosen / experts) ** tokens.
        """
        if not self.experts:
            return float(self.shared)
        used = self.experts * (1 - (1 - self.chosen / self.experts) ** tokens)
        return self.shared + self.routed_layers * used * self.expert


def shape(config: Mapping[str, Any]) -> Shape:
    """The shape of a configuration."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    if "kv_lora_rank" in config:
        rank, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
        cached, attended = rank + rope, heads * (2 * rank + rope)
        in_prompt = heads * (config["qk_nope_head_dim"] + rope + config["v_head_dim"])
    else:
        size = head_dim(config)
        cached = 2 * config["num_key_value_heads"] * size
        attended = in_prompt = 2 * heads * size
    all_tensors = list(tensors(config))
    routed = sum(tensor.elements for tensor in all_tensors if ".experts." in tensor.name)
    shared = sum(tensor.elements for tensor in all_tensors if _is_met(tensor)) - routed
    head = config["vocab_size"] * config["hidden_size"]
    shared += head if config.get("tie_word_embeddings") else 0
    experts = config.get("n_routed_experts") or 0
    routed_layers = sum(is_routed(config, layer) for layer in range(layers))
    return Shape(
        shared=shared,
        head=head,
        expert=routed // (routed_layers * experts) if routed_layers else 0,
        experts=experts if routed_layers else 0,
        chosen=config.get("num_experts_per_tok") or 0,
        routed_layers=routed_layers,
        cached=layers * cached,
        attended=layers * attended,
        attended_in_prompt=layers * in_prompt,
    )


def _is_met(tensor: Tensor) -> bool:
    """Whether every token is multiplied with it; of the embedding it reads one row."""
    return tensor.name != "model.embed_tokens.weight"


def decode_seconds(model: Shape, device: Accelerator, at_once: int, context: float) -> float:
    """The least time of a step that gives each of so many sequences a token.

    Args:
        model: its shape.
        device: what it runs on.
        at_once: sequences.
        context: tokens that each has in the mean.
    """
    read = BYTES * (model.weights_read(at_once) + at_once * context * model.cached)
    operations = 2 * at_once * (model.active + context * model.attended)
    return max(read / device.bytes_per_second, operations / device.flops)


def prefill_seconds(model: Shape, device: Accelerator, prompts: int, tokens: int) -> float:
    """The least time to compute so many prompts of so many tokens, all in one step.

    Args:
        model: its shape.
        device: what it runs on.
        prompts: how many.
        tokens: of each.
    """
    read = BYTES * model.weights_read(prompts * tokens)
    # A token attends to those before it, half of the prompt in the mean.
    of_token = model.active - model.head + tokens / 2 * model.attended_in_prompt
    operations = 2 * prompts * (tokens * of_token + model.head)
    return max(read / device.bytes_per_second, operations / device.flops)


def closed_limit(
    config: Mapping[str, Any], device: Accelerator, at_once: int, prompt: int, answer: int
) -> dict[str, Any]:
    """What a closed load of fixed lengths can reach, and why not more.

    Args:
        config: of the model.
        device: what it runs on.
        at_once: requests at once.
        prompt: tokens of each prompt.
        answer: tokens of each answer.
    """
    model = shape(config)
    prefill = prefill_seconds(model, device, at_once, prompt)
    decode = (answer - 1) * decode_seconds(model, device, at_once, prompt + answer / 2)
    return {
        "accelerator": device.name,
        "decode_step_ms": round(1e3 * decode / max(answer - 1, 1), 4),
        "decode_tokens_per_second": round(at_once * (answer - 1) / decode, 1) if decode else None,
        "prefill_ms": round(1e3 * prefill, 3),
        RATE: round(at_once * answer / (prefill + decode), 1),
    }
