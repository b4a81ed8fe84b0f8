"""What a model's config.json says about its size: numbers in its weights, bytes in its cache.

Everything here follows from the layers that transformers builds for a `model_type`; the names of
fields are those of config.json. Attention is one of five kinds: grouped heads (Llama, Qwen), a
latent that all heads share (V2, V3), the same over tokens that an indexer chooses by keys of its own
(V3.2), or a window and entries that many tokens became (V4). Sliding windows of other models the
server keeps sequence by sequence.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from deepseek_operator.catalog.numbers import count

Attention = Literal["grouped", "latent", "sparse", "compressed", "whole"]

# model_type: how the bundled server attends.
ATTENTION: dict[str, Attention] = {
    "llama": "grouped",
    "qwen2": "grouped",
    "qwen3": "grouped",
    "deepseek_v2": "latent",
    "deepseek_v3": "latent",
    "deepseek_v32": "sparse",
    "deepseek_v4": "compressed",
}
# The kinds of V4's layers, by the names of transformers; in its config.json they are numbers.
WINDOW, SPARSE, HEAVY = (
    "sliding_attention",
    "compressed_sparse_attention",
    "heavily_compressed_attention",
)
BY_RATIO = {0: WINDOW, 4: SPARSE, 128: HEAVY}
# The fields of config.json that are whole numbers, and the most that one of them can be.
NUMBERS = (
    "max_position_embeddings",
    "num_hidden_layers",
    "hidden_size",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "moe_intermediate_size",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "first_k_dense_replace",
    "num_nextn_predict_layers",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "o_groups",
    "o_lora_rank",
    "hc_mult",
    "sliding_window",
    "index_n_heads",
    "index_head_dim",
)
LARGEST = 10**9
# As many GPUs as the bundled server shares a model among.
MOST = 64
# Bytes of a number in a cache: the types that GPUs serve in have two.
CACHED = 2


class ShapeError(Exception):
    """A config.json says too little, or is of a model that the bundled server does not serve."""


class Shape:
    """The shape of a model.

    Args:
        config: Its config.json, or what of it decides on its size.

    Raises:
        ShapeError: Says which field is missing, or that the server does not serve such a model.
    """

    def __init__(self, config: Mapping[str, Any]):
        self.config = config
        self.model_type = str(config.get("model_type", ""))
        if self.model_type not in ATTENTION:
            raise ShapeError(f"the bundled server does not serve model_type {self.model_type!r}")
        for name in NUMBERS:
            self._check(name)
        self.context: int = self._number("max_position_embeddings")
        self.layers: int = self._number("num_hidden_layers")
        self.hidden: int = self._number("hidden_size")
        self.heads: int = self._number("num_attention_heads")
        self.vocabulary: int = self._number("vocab_size")
        try:
            self.attention = self._attention()
            self.numbers = count(self)
            self.cache_per_token = self._cache_per_token()
            self.cache_per_sequence = self._cache_per_sequence()
        except KeyError as error:
            raise ShapeError(f"config.json does not say {error.args[0]}") from error
        except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise ShapeError(f"config.json has a value of a wrong kind: {error}") from error

    def _check(self, name: str) -> None:
        value = self.config.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
        if value is not None and not whole:
            raise ShapeError(f"config.json has {name} {str(value)[:40]}, which is no such number")

    def _number(self, name: str) -> int:
        value = self.config.get(name)
        if not value:
            raise ShapeError(f"config.json does not say {name}")
        return int(value)

    def get(self, name: str, otherwise: int) -> int:
        """A number of config.json that may be left out."""
        value = self.config.get(name)
        return otherwise if value is None else int(value)

    def _attention(self) -> Attention:
        """How the bundled server attends; a sliding window it keeps sequence by sequence."""
        config = self.config
        kinds = set(config.get("layer_types") or ["full_attention"])
        windows = bool(config.get("use_sliding_window")) or kinds != {"full_attention"}
        known = ATTENTION[self.model_type]
        return "whole" if known == "grouped" and windows else known

    def paged(self) -> "Shape | None":
        """The same where an engine has paged attention for it; None where nobody knows its cache then.

        The bundled server keeps some models sequence by sequence, which others do not.
        """
        if self.model_type == "deepseek_v4":
            return None
        other = Shape(self.config)
        other.attention = "latent" if self.model_type.startswith("deepseek") else "grouped"
        return other

    @cached_property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.get("num_key_value_heads", self.heads)

    @cached_property
    def head(self) -> int:
        """Numbers of one head of keys or values."""
        return self.get("head_dim", self.hidden // self.heads)

    @cached_property
    def chosen(self) -> int:
        """Routed experts that a token meets in a layer, 0 where there are none."""
        return self.get("num_experts_per_tok", 0) if self.experts else 0

    @cached_property
    def experts(self) -> int:
        """Routed experts of a layer, 0 where there are none."""
        return self.get("n_routed_experts", 0)

    @cached_property
    def expert_width(self) -> int:
        """Inner width of an expert."""
        return int(self.config["moe_intermediate_size"]) if self.experts else 0

    @cached_property
    def width(self) -> int:
        """Inner width of a feed-forward network that is no expert, 0 where there is none."""
        return self.get("intermediate_size", 0)

    @cached_property
    def in_float16(self) -> bool:
        """Whether transformers can compute it in float16: V4 mixes types that do not mix with it."""
        return self.model_type != "deepseek_v4"

    @cached_property
    def attended(self) -> int:
        """Numbers by which a token asks for others in a layer, in the space of what is cached."""
        if self.attention in ("latent", "sparse"):
            return self.heads * int(self.config["kv_lora_rank"] + self.config["qk_rope_head_dim"])
        return self.heads * self.head if self.attention == "compressed" else 0

    @cached_property
    def compared(self) -> int:
        """Products for each token before one, in a layer that has no kernel of its own for them."""
        return self.heads if self.attention == "whole" else 0

    @cached_property
    def streams(self) -> int:
        """Residual streams of a token."""
        return self.get("hc_mult", 1) if self.attention == "compressed" else 1

    @cached_property
    def uneven(self) -> str:
        """Why it can't be split over several GPUs whatever their number, empty where it can."""
        if self.attention in ("compressed", "whole"):
            return f"the bundled server does not split {self.model_type} models over several GPUs"
        biases = [name for name in ("attention_bias", "mlp_bias") if self.config.get(name)]
        return f"the bundled server does not split a model with {biases[0]}" if biases else ""

    @cached_property
    def divided(self) -> dict[str, int]:
        """The numbers that are divided among GPUs, in words."""
        numbers = {"attention heads": self.heads, "intermediate size": self.width}
        if self.attention == "grouped":
            numbers["key-value heads"] = self.kv_heads
        if self.experts:
            numbers["experts' intermediate size"] = self.expert_width
        return numbers

    def splits(self, gpus: int) -> bool:
        """Whether so many GPUs can share it."""
        if gpus == 1:
            return True
        uneven = any(number % gpus for number in self.divided.values())
        return gpus <= MOST and not self.uneven and not uneven

    def packs(self, gpus: int) -> bool:
        """Whether the parts of matrices begin and end with blocks of 128, so that they stay fp8."""
        widths = (self.width, self.expert_width, self.hidden)
        return not any(width % (128 * gpus) for width in widths[:2]) and not self.hidden % 128

    def packs_heads(self, gpus: int) -> bool:
        """Return the same for latent attention alone, whose matrices have heads for rows or columns."""
        config = self.config
        query = int(config["qk_nope_head_dim"] + config["qk_rope_head_dim"])
        sizes = (self.heads * query, self.heads * int(config["v_head_dim"]))
        return not any(size % (128 * gpus) for size in sizes)

    def cache_of_gpu(self, gpus: int) -> int:
        """Bytes of the cache of each of so many GPUs for a token.

        Heads of keys and values are divided; a latent is kept by each
        (https://github.com/vllm-project/vllm-project.github.io, 2025-12-17-large-scale-serving).
        """
        return self.cache_per_token // (gpus if self.attention == "grouped" else 1)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of V4's layers: a window alone, or with entries that many tokens become."""
        ratios = self.config.get("compress_ratios")
        kinds = [BY_RATIO[ratio] for ratio in ratios] if ratios else self.config["layer_types"]
        return [str(kind) for kind in kinds][: self.layers]

    @cached_property
    def rates(self) -> dict[str, int]:
        """How many tokens become one entry in those layers of V4 that have entries."""
        return dict(self.config.get("compress_rates") or {SPARSE: 4, HEAVY: 128})

    def _cache_per_token(self) -> int:
        config = self.config
        if self.model_type == "deepseek_v4":
            entry = {SPARSE: self.head + config["index_head_dim"], HEAVY: self.head}
            bytes_of = {kind: -(-CACHED * entry[kind] // rate) for kind, rate in self.rates.items()}
            return sum(bytes_of.get(kind, 0) for kind in self.kinds)
        if not self.model_type.startswith("deepseek"):
            return self.layers * 2 * self.kv_heads * self.head * CACHED
        latent = config["kv_lora_rank"] + config["qk_rope_head_dim"]
        indexed = config["index_head_dim"] if self.model_type == "deepseek_v32" else 0
        return int(self.layers * (latent + indexed) * CACHED)

    def _cache_per_sequence(self) -> int:
        """V4's window in each layer, and the tokens that wait for being compressed, with their gates.

        An entry of few tokens is made of as many before it too, for which each has a second value
        and gate.
        """
        if self.model_type != "deepseek_v4":
            return 0
        window = (self.config["sliding_window"] - 1) * self.head
        entry = self.head + self.config["index_head_dim"]
        few, many = self.rates[SPARSE], self.rates[HEAVY]
        waiting = {
            WINDOW: 0,
            SPARSE: 4 * (2 * few - 1) * entry,
            HEAVY: 2 * (many - 1) * self.head,
        }
        return int(CACHED * sum(window + waiting[kind] for kind in self.kinds))
