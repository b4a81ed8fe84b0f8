"""Which bytes of a checkpoint make which part of a model.

Checkpoints name their tensors as transformers names a model's parameters, but for the experts:
a file has three matrices for each, a model has two stacks for all of them. Nothing is read here;
the outcome is a list of reads, so that what is missing or does not fit is said before hours of
loading, and so that a part of a model costs only the bytes of that part.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_server.failures import PermanentError
from deepseek_server.models.stored import Stored
from deepseek_server.parallel.sharding import Part, Shape, matrix

# Families whose checkpoints are laid out like this.
MODEL_TYPES = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32", "llama", "qwen2", "qwen3"})

_EXPERTS = re.compile(r"(?P<experts>.+\.mlp\.experts)\.(?P<stack>gate_up_proj|down_proj)")
_STACKED = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
# Older checkpoints keep the frequencies of the rotation, which the configuration gives.
_COMPUTED = re.compile(r".*rotary_emb\.inv_freq")
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Parameter:
    """A parameter or a buffer of the model, seen as a matrix or a stack of matrices.

    Attributes:
        name: as the model calls it.
        shape: of the whole, also where only a part of it is kept.
        part: what is kept of it.
    """

    name: str
    shape: Shape
    part: Part


@dataclass(frozen=True)
class Read:
    """Rows of a stored matrix, and their place in the model.

    Attributes:
        stored: the matrix, or a vector, whose rows are single numbers.
        rows: the rows to read.
        columns: what is kept of each.
        parameter: the parameter that they are for.
        index: which matrix of the stack, None if it is no stack.
        at: the first row of the parameter, as it is kept, that they fill.
    """

    stored: Stored
    rows: range
    columns: range
    parameter: str
    index: int | None
    at: int


@dataclass(frozen=True)
class _Part:
    """A stored tensor and the rows of a parameter that it makes, from `at` on."""

    tensor: str
    shape: Shape
    index: int | None = None
    at: int = 0


def reads(
    parameters: Sequence[Parameter], stored: Mapping[str, Stored], config: Mapping[str, Any]
) -> list[Read]:
    """What to read for a model.

    Args:
        parameters: All parameters and buffers that come from the checkpoint.
        stored: The tensors of the checkpoint by name.
        config: The checkpoint's config.json.

    Raises:
        PermanentError: A tensor is missing, has another shape or is of no use; names it.
    """
    wanted = [(parameter, part) for parameter in parameters for part in _parts(parameter, stored)]
    _check_names({part.tensor for _, part in wanted}, stored, config)
    found: list[Read] = []
    for parameter, part in wanted:
        tensor = stored[part.tensor]
        if tensor.shape != part.shape:
            raise PermanentError(
                f"the tensor {part.tensor} in {tensor.file} has the shape {list(tensor.shape)}, "
                f"where config.json asks for {list(part.shape)}: check that config.json and the "
                "weights belong to one model"
            )
        found.extend(_cut(parameter, part, tensor))
    return found


def _parts(parameter: Parameter, stored: Mapping[str, Stored]) -> Iterator[_Part]:
    """The stored tensors that make a parameter."""
    match = _EXPERTS.fullmatch(parameter.name)
    if match is None or parameter.name in stored:
        yield _Part(parameter.name, parameter.shape)
        return
    count, rows, columns = parameter.shape
    tensors = _STACKED[match["stack"]]
    rows //= len(tensors)
    for index in range(count):
        for number, tensor in enumerate(tensors):
            name = f"{match['experts']}.{index}.{tensor}.weight"
            yield _Part(name, (rows, columns), index, number * rows)


def _check_names(wanted: set[str], stored: Mapping[str, Stored], config: Mapping[str, Any]) -> None:
    missing = sorted(wanted - stored.keys())
    if missing:
        directory = next(iter(stored.values())).file.parent if stored else "this directory"
        raise PermanentError(
            f"the weights in {directory} lack {len(missing)} tensors that config.json asks for, "
            f"the first is {missing[0]}: check that both belong to one model"
        )
    unknown = sorted(name for name in stored.keys() - wanted if not _superfluous(name, config))
    if unknown:
        raise PermanentError(
            f"the weights hold {len(unknown)} tensors that a {config['model_type']} model of this "
            f"config.json has no place for, the first is {unknown[0]} in "
            f"{stored[unknown[0]].file}: check that both belong to one model"
        )


def _superfluous(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a tensor is rightly in a checkpoint, yet not needed to answer."""
    if _COMPUTED.fullmatch(name):
        return True
    if name == "lm_head.weight":  # asked for by every model but those that tie it to the embeddings
        return bool(config.get("tie_word_embeddings"))
    match = _LAYER.match(name)
    layers = int(config.get("num_hidden_layers") or 0)
    # The layers after the last one predict several tokens ahead; transformers has no code for them.
    extra = int(config.get("num_nextn_predict_layers") or 0)
    return match is not None and layers <= int(match[1]) < layers + extra


def _cut(parameter: Parameter, part: _Part, tensor: Stored) -> Iterator[Read]:
    """The reads of one stored tensor: what of its rows the model keeps."""
    if len(tensor.shape) == 3:
        matrices: list[tuple[int | None, Stored]] = [(i, tensor[i]) for i in range(tensor.shape[0])]
    else:
        matrices = [(part.index, tensor)]
    rows, _ = matrix(tensor.shape)
    begin = 0
    for kept in parameter.part.rows:
        first, last = max(kept.start, part.at), min(kept.stop, part.at + rows)
        if first < last:
            of_tensor = range(first - part.at, last - part.at)
            at = begin + first - kept.start
            for index, one in matrices:
                yield Read(one, of_tensor, parameter.part.columns, parameter.name, index, at)
        begin += len(kept)
