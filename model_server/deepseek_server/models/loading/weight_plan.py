"""Mapping of a checkpoint's bytes to a model's parameters.

Checkpoints name their tensors as transformers names a model's parameters, except for the experts:
a file has three matrices for each, a model has two stacks for all of them. Nothing is read here;
the result is a list of reads, so that missing or mismatching tensors are reported before hours of
loading, and so that a rank reads only the bytes of its part of the model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_server.distributed.sharding import Part, Shape, matrix
from deepseek_server.errors import PermanentError
from deepseek_server.models.loading.stored import Stored

# Families whose checkpoints have this layout.
MODEL_TYPES = frozenset({"deepseek_v2", "deepseek_v3", "deepseek_v32", "llama", "qwen2", "qwen3"})

_EXPERTS = re.compile(
    r"(?P<experts>.+\.mlp\.experts)\.(?P<stack>gate_up_proj|down_proj)(?P<scale>_scale_inv)?"
)
_STACKED = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
# An fp8 matrix has a scale for each block of _BLOCK x _BLOCK values, in a tensor with the same name
# plus `_scale_inv`.
_FP8, _BLOCK = "F8_E4M3", 128
# Older checkpoints store the rotary frequencies, which are computed from the configuration.
_COMPUTED = re.compile(r".*rotary_emb\.inv_freq")
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer of the model, seen as a matrix or a stack of matrices.

    Attributes:
        name: its name in the model.
        shape: the full shape, also where only a part is kept.
        part: the part that this rank keeps.
        packed: whether the model keeps it in fp8, as stored.
    """

    name: str
    shape: Shape
    part: Part
    packed: bool = False


@dataclass(frozen=True)
class Read:
    """Rows of a stored matrix, and their destination in the model.

    Attributes:
        stored: the matrix, or a vector, whose rows are single numbers.
        rows: the rows to read.
        columns: the columns to keep of each row.
        parameter: the destination parameter.
        index: index of the matrix in the stack, None if the parameter is no stack.
        at: the first row to fill of the parameter's kept part.
        scale: the scales of the matrix's blocks, if it has to be dequantised.
    """

    stored: Stored
    rows: range
    columns: range
    parameter: str
    index: int | None
    at: int
    scale: Stored | None = None


@dataclass(frozen=True)
class _Part:
    """A stored tensor and the rows of a parameter that it fills, from `at` on."""

    tensor: str
    shape: Shape
    index: int | None = None
    at: int = 0


def reads(
    parameters: Sequence[Parameter], stored: Mapping[str, Stored], config: Mapping[str, Any]
) -> list[Read]:
    """Return the reads that fill a model.

    Args:
        parameters: All parameters and buffers that come from the checkpoint.
        stored: The tensors of the checkpoint by name.
        config: The checkpoint's config.json.

    Raises:
        PermanentError: A tensor is missing, has another shape or is unknown; names it.
    """
    wanted = [(parameter, part) for parameter in parameters for part in _parts(parameter, stored)]
    scales = {
        part.tensor: f"{part.tensor}_scale_inv"
        for parameter, part in wanted
        if part.tensor in stored and stored[part.tensor].dtype == _FP8 and not parameter.packed
    }
    _check_names({part.tensor for _, part in wanted} | {*scales.values()}, stored, config)
    found: list[Read] = []
    for parameter, part in wanted:
        tensor, scale = stored[part.tensor], stored.get(scales.get(part.tensor, ""))
        _check_shape(part.tensor, tensor, part.shape)
        if scale is not None:
            _check_shape(scales[part.tensor], scale, _blocks(part.shape))
        found.extend(_cut(parameter, part, tensor, scale))
    return found


def _blocks(shape: Shape) -> Shape:
    return (*shape[:-2], *(-(-length // _BLOCK) for length in shape[-2:]))


def _check_shape(name: str, tensor: Stored, shape: Shape) -> None:
    if tensor.shape != shape:
        raise PermanentError(
            f"the tensor {name} in {tensor.file} has the shape {list(tensor.shape)}, but "
            f"config.json requires {list(shape)}: check that config.json and the weights belong "
            "to the same model"
        )


def _parts(parameter: Parameter, stored: Mapping[str, Stored]) -> Iterator[_Part]:
    """Return the stored tensors that make up a parameter."""
    match = _EXPERTS.fullmatch(parameter.name)
    if match is None or parameter.name in stored:
        yield _Part(parameter.name, parameter.shape)
        return
    count, rows, columns = parameter.shape
    tensors = _STACKED[match["stack"]]
    rows //= len(tensors)
    for index in range(count):
        for number, tensor in enumerate(tensors):
            name = f"{match['experts']}.{index}.{tensor}.weight{match['scale'] or ''}"
            yield _Part(name, (rows, columns), index, number * rows)


def _check_names(wanted: set[str], stored: Mapping[str, Stored], config: Mapping[str, Any]) -> None:
    missing = sorted(wanted - stored.keys())
    if missing:
        directory = next(iter(stored.values())).file.parent if stored else "this directory"
        raise PermanentError(
            f"the weights in {directory} lack {len(missing)} tensors that config.json requires, "
            f"the first is {missing[0]}: check that both belong to the same model"
        )
    unknown = sorted(name for name in stored.keys() - wanted if not _superfluous(name, config))
    if unknown:
        raise PermanentError(
            f"the weights contain {len(unknown)} tensors that do not belong to a "
            f"{config['model_type']} model with this config.json, the first is {unknown[0]} in "
            f"{stored[unknown[0]].file}: check that both belong to the same model"
        )


def _superfluous(name: str, config: Mapping[str, Any]) -> bool:
    """Return whether a tensor may be in a checkpoint although inference does not need it."""
    if _COMPUTED.fullmatch(name):
        return True
    if name == "lm_head.weight":  # required by every model that does not tie it to the embeddings
        return bool(config.get("tie_word_embeddings"))
    match = _LAYER.match(name)
    layers = int(config.get("num_hidden_layers") or 0)
    # Layers after the last one are for multi-token prediction, which transformers does not have.
    extra = int(config.get("num_nextn_predict_layers") or 0)
    return match is not None and layers <= int(match[1]) < layers + extra


def _cut(parameter: Parameter, part: _Part, tensor: Stored, scale: Stored | None) -> Iterator[Read]:
    """Return the reads of one stored tensor: the rows and columns that the model keeps."""
    matrices: list[tuple[int | None, Stored, Stored | None]] = [(part.index, tensor, scale)]
    if len(tensor.shape) == 3:
        each = range(tensor.shape[0])
        matrices = [(i, tensor[i], None if scale is None else scale[i]) for i in each]
    rows, _ = matrix(tensor.shape)
    begin = 0
    for kept in parameter.part.rows:
        first, last = max(kept.start, part.at), min(kept.stop, part.at + rows)
        if first < last:
            of_tensor = range(first - part.at, last - part.at)
            at = begin + first - kept.start
            for index, one, factors in matrices:
                columns = parameter.part.columns
                yield Read(one, of_tensor, columns, parameter.name, index, at, factors)
        begin += len(kept)
