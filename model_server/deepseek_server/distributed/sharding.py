"""Which part of a model's weights each of several processes keeps.

Attention is split by heads and every feed-forward network by its inner width, so that each process
computes some heads and some of the inner values for all tokens. What it finds is a part of a sum;
one sum over all processes after attention and one after the feed-forward network make it whole
(Shoeybi et al., "Megatron-LM", arXiv:1909.08053, section 3). Experts are all split alike, whichever
tokens they get, so all processes have the same work. Routers, norms and the small projections into
latents are kept whole by each, and so are the embeddings: looking a token up costs nothing. An
indexer is kept whole too, so that all processes attend to the same tokens. Each computes the logits
of a part of the vocabulary.

Nothing here has tensors: it is about names, shapes and numbers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_server.errors import PermanentError

Shape = tuple[int, ...]

# Families that can be split, and whether their heads of keys and values are fewer than the queries'.
GROUPED = frozenset({"llama", "qwen2", "qwen3"})
LATENT = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32"})

# The matrices whose rows are heads or inner values, and those whose columns are.
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
# As many devices as anybody has for one model.
_MOST = 64
_ROW_BYTES = 16


@dataclass(frozen=True)
class Part:
    """The rows and columns of a matrix that one process keeps, those of a vector as rows.

    Attributes:
        rows: Rows of the whole, in the order they are kept; they can reach beyond its end.
        columns: Columns of the whole.
    """

    rows: tuple[range, ...]
    columns: range

    @classmethod
    def whole(cls, shape: Shape) -> "Part":
        """All of a parameter."""
        rows, columns = matrix(shape)
        return cls((range(rows),), range(columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are kept."""
        return sum(len(rows) for rows in self.rows), len(self.columns)


def check(config: Mapping[str, Any], size: int) -> None:
    """Refuse a number of processes that a model cannot be split over.

    Args:
        config: The model's config.json.
        size: How many processes.

    Raises:
        PermanentError: Says which number does not divide and how many processes would do.
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
    """Refuse parts of experts that torch's grouped product does not take.

    It wants rows that begin at multiples of 16 bytes (torch.nn.functional.grouped_mm).

    Args:
        config: The model's config.json.
        size: How many processes.
        itemsize: Bytes of a number that is computed with.

    Raises:
        PermanentError: Says how many processes would do.
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
        f"the model cannot be split over {size} devices, because {width // size} of its "
        f"moe_intermediate_size {width} for each are {width // size * itemsize} bytes, which is no "
        f"multiple of {_ROW_BYTES}: use {_one_of(fitting)}"
    )


def _split_numbers(config: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a config.json that are divided among processes, in words."""
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
    """What a process keeps of a parameter.

    Args:
        name: The parameter's name in the model.
        shape: The shape of the whole: a vector, a matrix, or a stack of matrices that are all
            split alike.
        rank: The number of the process.
        size: How many processes, a number that passed `check`.
        tied: Whether the model's last matrix is that of its embeddings.
    """
    rows, columns = matrix(shape)
    if size > 1:
        if _COLUMNS.fullmatch(name):
            return Part((range(rows),), _share_of(columns, rank, size))
        if _ROWS.fullmatch(name):
            return Part((_share_of(rows, rank, size),), range(columns))
        if _STACKED_ROWS.fullmatch(name):  # the gates above the inputs that they close
            half = rows // 2
            gate = _share_of(half, rank, size)
            return Part((gate, range(gate.start + half, gate.stop + half)), range(columns))
        if name == _HEAD and not tied:
            each = -(-rows // size)
            return Part((range(rank * each, (rank + 1) * each),), range(columns))
    return Part.whole(shape)


def matrix(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a matrix, of a vector as a column, or of each matrix of a stack."""
    return (shape[0], 1) if len(shape) == 1 else (shape[-2], shape[-1])


def _share_of(count: int, rank: int, size: int) -> range:
    if count % size:
        raise ValueError(f"{size} does not divide {count}")
    each = count // size
    return range(rank * each, (rank + 1) * each)
