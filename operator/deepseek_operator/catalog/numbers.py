"""Number of parameters of a model, by how they are split over GPUs and quantized.

The layers are those that transformers builds; tests/unit/test_catalogue.py compares the sums with
its models.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepseek_operator.catalog.shape import Shape


@dataclass(frozen=True)
class Numbers:
    """Numbers of parameters, by how they are split over GPUs and quantized.

    Attributes:
        experts: Parameters of routed experts, split over GPUs.
        heads: Parameters of matrices whose rows or columns are heads of latent attention, split.
        split: Parameters of other split matrices.
        whole: Parameters of matrices that are replicated on each GPU.
        split_plain: Like `split`, for matrices that are never quantized.
        whole_plain: Like `whole`, for matrices, norms and biases that are never quantized.
        whole_exact: Like `whole`, for parameters of four bytes in any data type.
    """

    experts: int = 0
    heads: int = 0
    split: int = 0
    whole: int = 0
    split_plain: int = 0
    whole_plain: int = 0
    whole_exact: int = 0

    def __add__(self, other: "Numbers") -> "Numbers":
        return Numbers(
            self.experts + other.experts,
            self.heads + other.heads,
            self.split + other.split,
            self.whole + other.whole,
            self.split_plain + other.split_plain,
            self.whole_plain + other.whole_plain,
            self.whole_exact + other.whole_exact,
        )

    def __mul__(self, times: int) -> "Numbers":
        return Numbers(
            self.experts * times,
            self.heads * times,
            self.split * times,
            self.whole * times,
            self.split_plain * times,
            self.whole_plain * times,
            self.whole_exact * times,
        )

    @property
    def total(self) -> int:
        """Sum of all parameters."""
        whole = self.whole + self.whole_plain + self.whole_exact
        return self.experts + self.heads + self.split + self.split_plain + whole


def count(shape: "Shape") -> Numbers:
    """Count the parameters in all layers of a model."""
    hidden, vocabulary = shape.hidden, shape.vocabulary
    ends = Numbers(whole_plain=vocabulary * hidden + hidden)
    if not shape.config.get("tie_word_embeddings"):
        ends += Numbers(split_plain=vocabulary * hidden)
    dense = _dense_layers(shape)
    return (
        ends
        + _attention(shape)
        + Numbers(split=3 * hidden * shape.width) * dense
        + _mixture(shape) * (shape.layers - dense)
        + Numbers(whole_plain=2 * hidden * shape.layers)
    )


def count_predictors(shape: "Shape") -> Numbers:
    """Count the parameters of V3's layers for multi-token prediction, which are not served.

    Each has a matrix that combines two hidden states, and its own copies of embedding and head
    (https://github.com/deepseek-ai/DeepSeek-V3, README_WEIGHTS.md).
    """
    layers = shape.get("num_nextn_predict_layers", 0)
    if shape.model_type not in ("deepseek_v3", "deepseek_v32"):
        return Numbers()
    hidden = shape.hidden
    beside = 5 * hidden + 2 * hidden**2 + 2 * shape.vocabulary * hidden
    return (_latent(shape) + _mixture(shape) + Numbers(whole_plain=beside)) * layers


def _dense_layers(shape: "Shape") -> int:
    if not shape.experts:
        return shape.layers
    if shape.model_type == "deepseek_v4":
        return 0
    return shape.get("first_k_dense_replace", 0)


def _mixture(shape: "Shape") -> Numbers:
    """Count the parameters of a layer's mixture of experts."""
    if not shape.experts:
        return Numbers()
    one = 3 * shape.hidden * shape.expert_width
    return Numbers(
        experts=shape.experts * one,
        split=shape.get("n_shared_experts", 0) * one,
        whole_plain=shape.experts * shape.hidden,
    )


def _attention(shape: "Shape") -> Numbers:
    if shape.model_type == "deepseek_v4":
        return _windowed(shape)
    if shape.model_type.startswith("deepseek"):
        return _latent(shape) * shape.layers
    query, key = shape.heads * shape.head, shape.kv_heads * shape.head
    biases = query + 2 * key if shape.model_type == "qwen2" else 0
    norms = 2 * shape.head if shape.model_type == "qwen3" else 0
    layer = Numbers(split=2 * shape.hidden * (query + key), split_plain=biases, whole_plain=norms)
    return layer * shape.layers


def _latent(shape: "Shape") -> Numbers:
    """Count the parameters of a layer's multi-head latent attention, with V3.2's indexer."""
    config, hidden = shape.config, shape.hidden
    rank, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
    keys, values = config["qk_nope_head_dim"], config["v_head_dim"]
    query, lora = shape.heads * (keys + rope), config.get("q_lora_rank")
    numbers = Numbers(
        heads=shape.heads * values * hidden + (lora or hidden) * query,
        whole=hidden * (rank + rope) + hidden * (lora or 0),
        # Absorbed attention splits this matrix, so it is not quantized.
        split_plain=rank * shape.heads * (keys + values),
        whole_plain=rank + (lora or 0),
    )
    if shape.model_type != "deepseek_v32":
        return numbers
    heads, width = config["index_n_heads"], config["index_head_dim"]
    indexer = lora * heads * width + hidden * width
    return numbers + Numbers(whole=indexer, whole_plain=hidden * heads + 2 * width)


def _windowed(shape: "Shape") -> Numbers:
    """Count the parameters of V4's attention, in layers with and without compressed entries."""
    config, hidden, head = shape.config, shape.hidden, shape.head
    lora, output = config["q_lora_rank"], config["o_lora_rank"]
    query, groups = shape.heads * head, config["o_groups"]
    streams = config["hc_mult"]
    common = Numbers(
        whole=hidden * (lora + head) + lora * query + output * (query + groups * hidden),
        # Mixing of the residual streams; sinks and norms are negligible.
        whole_exact=2 * streams * (streams + 2) * streams * hidden,
    )
    heads, width = config["index_n_heads"], config["index_head_dim"]
    by_kind = {
        "compressed_sparse_attention": 4 * hidden * (head + width)
        + lora * heads * width
        + hidden * heads,
        "heavily_compressed_attention": 2 * hidden * head,
    }
    further = sum(by_kind.get(kind, 0) for kind in shape.kinds)
    return common * shape.layers + Numbers(whole=further)
