"""Sharding: the part of a model's weights that each rank keeps.

Attention is split by heads and every feed-forward network by its inner width, so that each rank
computes some heads and some inner values for all tokens. The result is a partial sum; one all-reduce
after attention and one after the feed-forward network complete it (Shoeybi et al., "Megatron-LM",
arXiv:1909.08053, section 3). All experts are split in the same way, so all ranks have the same work
whichever experts are selected. Routers, norms and the small projections into latents are replicated,
and so are the embeddings, because looking up a token costs nothing. An indexer is replicated too, so
that all ranks attend to the same tokens. Each rank computes the logits of a part of the vocabulary.

This module uses names, shapes and numbers, not tensors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_server.errors import PermanentError

Shape = tuple[int, ...]

# Model types that can be split: with grouped key-value heads, and with latent attention.
GROUPED = frozenset({"llama", "qwen2", "qwen3"})
LATENT = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32"})

# Matrices whose rows are heads or inner values, and those whose columns are.
_ROWS = re.compile(
    r".*\.(self_attn\.(q|k|v|q_b|kv_b)_proj|mlp\.(shared_experts\.)?(gate|up)_proj)"
    r"\.(weight|weight_scale_inv|bias)"
)
_COLUMNS = re.compile(
    r".*\.(self_attn\.o_proj|mlp\.(shared_experts\.)?down_proj)\.(weight|weight_scale_inv)"
    r"|.*\.mlp\.experts\.down_proj(_scale_inv)?"
)
_STACKED_ROWS = re.compile(r".*\.mlp\.experts\.gate_up_proj(_scale_inv)?")
_HEAD = "lm_head.weight"
# The largest number of devices for one model.
_MOST = 64
_ROW_BYTES = 16


@dataclass(frozen=True)
class Part:
    """The rows and columns of a matrix that one rank keeps; a vector has only rows.

    Attributes:
        rows: Rows of the whole matrix, in the order of the part; can extend beyond its end.
        columns: Columns of the whole matrix.
    """

    rows: tuple[range, ...]
    columns: range

    @classmethod
    def whole(cls, shape: Shape) -> "Part":
        """Return the part that is the whole parameter."""
        rows, columns = matrix(shape)
        return cls((range(rows),), range(columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of the part."""
        return sum(len(rows) for rows in self.rows), len(self.columns)


def check(config: Mapping[str, Any], size: int) -> None:
    """Check that a model can be split over a number of ranks.

    Args:
        config: The model's config.json.
        size: Number of ranks.

    Raises:
        PermanentError: The message names the number that is not divisible and the valid sizes.
    """
    if size == 1:
        return
    model_type = config["model_type"]
    if model_type not in GROUPED | LATENT:
        raise PermanentError(
            f"a {model_type} model cannot be split over {size} devices: use one device, or a model "
            f"of the types {', '.join(sorted(GROUPED | LATENT))}"
        )
    for bias in ("attention_bias", "mlp_bias"):
        if config.get(bias):
            raise PermanentError(
                f"a model with {bias} in its config.json cannot be split over {size} devices: "
                "use one device"
            )
    numbers = _split_numbers(config)
    uneven = [f"{name} {number}" for name, number in numbers.items() if number % size]
    if uneven:
        fitting = [n for n in range(1, _MOST + 1) if not any(v % n for v in numbers.values())]
        raise PermanentError(
            f"the model cannot be split over {size} devices, because {size} does not divide its "
            f"{' and its '.join(uneven)}: use {_one_of(fitting)}"
        )


def check_experts(config: Mapping[str, Any], size: int, itemsize: int) -> None:
    """Check that torch's grouped matrix product supports the parts of the experts.

    It requires rows that begin at multiples of 16 bytes (torch.nn.functional.grouped_mm).

    Args:
        config: The model's config.json.
        size: Number of ranks.
        itemsize: Bytes of an element of the compute dtype.

    Raises:
        PermanentError: The message names the valid sizes.
    """
    width = config.get("moe_intermediate_size") if config.get("n_routed_experts") else None
    if size == 1 or not width or (width // size) * itemsize % _ROW_BYTES == 0:
        return
    numbers = _split_numbers(config).values()
    fitting = [
        n
        for n in range(1, _MOST + 1)
        if not any(v % n for v in numbers) and (n == 1 or (width // n) * itemsize % _ROW_BYTES == 0)
    ]
    raise PermanentError(
        f"the model cannot be split over {size} devices, because a part of {width // size} of its "
        f"moe_intermediate_size {width} has {width // size * itemsize} bytes, which is not a "
        f"multiple of {_ROW_BYTES}: use {_one_of(fitting)}"
    )


def _split_numbers(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of a config.json that are divided among the ranks, by name."""
    numbers = {
        "number of attention heads": config["num_attention_heads"],
        "intermediate size": config["intermediate_size"],
    }
    if config["model_type"] in GROUPED:
        kv_heads = config.get("num_key_value_heads") or config["num_attention_heads"]
        numbers["number of key-value heads"] = kv_heads
    if config.get("n_routed_experts"):
        numbers["experts' intermediate size"] = config["moe_intermediate_size"]
    return numbers


def _one_of(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return str(sizes[0])
    return f"{', '.join(str(size) for size in sizes[:-1])} or {sizes[-1]}"


def part(name: str, shape: Shape, rank: int, size: int, *, tied: bool = False) -> Part:
    """Return the part of a parameter that a rank keeps.

    Args:
        name: The parameter's name in the model.
        shape: The shape of the whole: a vector, a matrix, or a stack of matrices that are split in
            the same way.
        rank: The number of the rank.
        size: Number of ranks, which passed `check`.
        tied: Whether the model's last matrix is its embedding matrix.
    """
    rows, columns = matrix(shape)
    if size > 1:
        if _COLUMNS.fullmatch(name):
            return Part((range(rows),), _share_of(columns, rank, size))
        if _ROWS.fullmatch(name):
            return Part((_share_of(rows, rank, size),), range(columns))
        if _STACKED_ROWS.fullmatch(name):  # the gate rows come first, then the up rows
            half = rows // 2
            gate = _share_of(half, rank, size)
            return Part((gate, range(gate.start + half, gate.stop + half)), range(columns))
        if name == _HEAD and not tied:
            each = -(-rows // size)
            return Part((range(rank * each, (rank + 1) * each),), range(columns))
    return Part.whole(shape)


def matrix(shape: Shape) -> tuple[int, int]:
    """Return rows and columns of a matrix, of a vector as a column, or of each matrix of a stack."""
    return (shape[0], 1) if len(shape) == 1 else (shape[-2], shape[-1])


def _share_of(count: int, rank: int, size: int) -> range:
    if count % size:
        raise ValueError(f"{size} does not divide {count}")
    each = count // size
    return range(rank * each, (rank + 1) * each)
