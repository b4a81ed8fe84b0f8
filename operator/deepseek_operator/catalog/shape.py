"""Size of a model from its config.json: parameters of its weights, bytes of its KV cache.

Everything here follows from the layers that transformers builds for a `model_type`; field names are
those of config.json. There are five kinds of attention: grouped heads (Llama, Qwen), a latent shared
by all heads (V2, V3), a latent over tokens that an indexer with its own keys selects (V3.2), a window
with entries that each compress many tokens (V4), and sliding windows of other models, whose cache the
server keeps per sequence.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from deepseek_operator.catalog.numbers import count

Attention = Literal["grouped", "latent", "sparse", "compressed", "whole"]

# Kind of attention of the bundled server by model_type.
ATTENTION: dict[str, Attention] = {
    "llama": "grouped",
    "qwen2": "grouped",
    "qwen3": "grouped",
    "deepseek_v2": "latent",
    "deepseek_v3": "latent",
    "deepseek_v32": "sparse",
    "deepseek_v4": "compressed",
}
# Kinds of V4's layers, by transformers' names; V4's config.json has numbers for them.
WINDOW, SPARSE, HEAVY = (
    "sliding_attention",
    "compressed_sparse_attention",
    "heavily_compressed_attention",
)
BY_RATIO = {0: WINDOW, 4: SPARSE, 128: HEAVY}
# Integer fields of config.json, and their maximum.
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
# Maximum tensor parallel size of the bundled server.
MOST = 64
# Bytes of a number in the KV cache: the data types used on GPUs have two.
CACHED = 2


class ShapeError(Exception):
    """Raised when a config.json is incomplete, or the bundled server does not serve its model."""


class Shape:
    """Shape of a model.

    Args:
        config: Its config.json, or the fields of it that determine its size.

    Raises:
        ShapeError: A field is missing or invalid, or the server does not serve the model_type.
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
            raise ShapeError(f"config.json lacks {error.args[0]}") from error
        except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise ShapeError(f"config.json has an invalid value: {error}") from error

    def _check(self, name: str) -> None:
        value = self.config.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
        if value is not None and not whole:
            raise ShapeError(f"config.json has an invalid {name}: {str(value)[:40]}")

    def _number(self, name: str) -> int:
        value = self.config.get(name)
        if not value:
            raise ShapeError(f"config.json lacks {name}")
        return int(value)

    def get(self, name: str, otherwise: int) -> int:
        """Return an optional number of config.json, or a default."""
        value = self.config.get(name)
        return otherwise if value is None else int(value)

    def _attention(self) -> Attention:
        """Return the bundled server's kind of attention; sliding windows are cached per sequence."""
        config = self.config
        kinds = set(config.get("layer_types") or ["full_attention"])
        windows = bool(config.get("use_sliding_window")) or kinds != {"full_attention"}
        known = ATTENTION[self.model_type]
        return "whole" if known == "grouped" and windows else known

    def paged(self) -> "Shape | None":
        """Return the shape for an engine with paged attention; None if its cache size is unknown.

        The bundled server keeps the cache of some models per sequence, other engines page it.
        """
        if self.model_type == "deepseek_v4":
            return None
        other = Shape(self.config)
        other.attention = "latent" if self.model_type.startswith("deepseek") else "grouped"
        return other

    @cached_property
    def kv_heads(self) -> int:
        """Number of key-value heads."""
        return self.get("num_key_value_heads", self.heads)

    @cached_property
    def head(self) -> int:
        """Size of a key or value head."""
        return self.get("head_dim", self.hidden // self.heads)

    @cached_property
    def chosen(self) -> int:
        """Routed experts per token in a layer, 0 without experts."""
        return self.get("num_experts_per_tok", 0) if self.experts else 0

    @cached_property
    def experts(self) -> int:
        """Routed experts of a layer, 0 without experts."""
        return self.get("n_routed_experts", 0)

    @cached_property
    def expert_width(self) -> int:
        """Intermediate size of an expert, 0 without experts."""
        return int(self.config["moe_intermediate_size"]) if self.experts else 0

    @cached_property
    def width(self) -> int:
        """Intermediate size of a dense feed-forward network, 0 if there is none."""
        return self.get("intermediate_size", 0)

    @cached_property
    def in_float16(self) -> bool:
        """Whether transformers can compute it in float16, which V4's mixed data types prevent."""
        return self.model_type != "deepseek_v4"

    @cached_property
    def attended(self) -> int:
        """Size of a token's queries in a layer, in the space of the cached keys."""
        if self.attention in ("latent", "sparse"):
            return self.heads * int(self.config["kv_lora_rank"] + self.config["qk_rope_head_dim"])
        return self.heads * self.head if self.attention == "compressed" else 0

    @cached_property
    def compared(self) -> int:
        """Attention scores per previous token, in a layer without an attention kernel."""
        return self.heads if self.attention == "whole" else 0

    @cached_property
    def streams(self) -> int:
        """Number of residual streams."""
        return self.get("hc_mult", 1) if self.attention == "compressed" else 1

    @cached_property
    def uneven(self) -> str:
        """Reason why it can't be split over any number of GPUs, empty if it can."""
        if self.attention in ("compressed", "whole"):
            return f"the bundled server does not split {self.model_type} models over several GPUs"
        biases = [name for name in ("attention_bias", "mlp_bias") if self.config.get(name)]
        return f"the bundled server does not split models with {biases[0]}" if biases else ""

    @cached_property
    def divided(self) -> dict[str, int]:
        """Sizes that the number of GPUs must divide, by human-readable name."""
        numbers = {"attention heads": self.heads, "intermediate size": self.width}
        if self.attention == "grouped":
            numbers["key-value heads"] = self.kv_heads
        if self.experts:
            numbers["experts' intermediate size"] = self.expert_width
        return numbers

    def splits(self, gpus: int) -> bool:
        """Return whether it can be split over a number of GPUs."""
        if gpus == 1:
            return True
        uneven = any(number % gpus for number in self.divided.values())
        return gpus <= MOST and not self.uneven and not uneven

    def packs(self, gpus: int) -> bool:
        """Return whether the shards of matrices consist of whole blocks of 128 and so stay fp8."""
        widths = (self.width, self.expert_width, self.hidden)
        return not any(width % (128 * gpus) for width in widths[:2]) and not self.hidden % 128

    def packs_heads(self, gpus: int) -> bool:
        """Return the same for latent attention, whose matrices are split by heads."""
        config = self.config
        query = int(config["qk_nope_head_dim"] + config["qk_rope_head_dim"])
        sizes = (self.heads * query, self.heads * int(config["v_head_dim"]))
        return not any(size % (128 * gpus) for size in sizes)

    def cache_of_gpu(self, gpus: int) -> int:
        """Return the bytes of KV cache per token on each of a number of GPUs.

        Key-value heads are split; a latent is replicated
        (https://github.com/vllm-project/vllm-project.github.io, 2025-12-17-large-scale-serving).
        """
        return self.cache_per_token // (gpus if self.attention == "grouped" else 1)

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds of V4's layers: a window alone, or with entries that compress many tokens."""
        ratios = self.config.get("compress_ratios")
        kinds = [BY_RATIO[ratio] for ratio in ratios] if ratios else self.config["layer_types"]
        return [str(kind) for kind in kinds][: self.layers]

    @cached_property
    def rates(self) -> dict[str, int]:
        """Tokens per compressed entry, by kind of V4's layers with entries."""
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
        """Return the bytes of V4's windows, and of tokens not yet compressed with their gates.

        A sparse layer's entry also uses as many previous tokens, so each token has a second value
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
