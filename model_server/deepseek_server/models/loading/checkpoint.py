"""Inspection of a directory of model files before anything is loaded.

Loading takes minutes and its errors are about tensors. Here the mistakes that users make with a
directory are found from a few small files and the headers of the weights, and reported in plain
words.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_server.errors import PermanentError
from deepseek_server.models.loading.stored import ELEMENT_BYTES, Stored, read_header
from deepseek_server.models.registry import ARCHITECTURES

INDEX = "model.safetensors.index.json"
# Types that are cast to the served type; tensors of other types stay as they are.
_CAST = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a complete, consistent set of model files.

    Attributes:
        directory: the directory of the files.
        config: the content of config.json.
        context: context length of the model in tokens.
        dtype: type of the weights according to config.json, or "".
        tensors: the tensors of all weight files by name.
    """

    directory: Path
    config: dict[str, Any]
    context: int
    dtype: str
    tensors: Mapping[str, Stored]

    @property
    def quantization(self) -> str:
        """Quantization method of the weights, or "" if they are not quantized."""
        packing = self.config.get("quantization_config") or {}
        return str(packing.get("quant_method", "quantised")) if packing else ""

    def bytes_as(self, element_bytes: int) -> int:
        """Return the bytes of all weights at `element_bytes` per number."""
        return sum(
            tensor.count * element_bytes if tensor.dtype in _CAST else tensor.bytes
            for tensor in self.tensors.values()
        )


def inspect(directory: Path) -> Checkpoint:
    """Inspect a directory of model files.

    Raises:
        PermanentError: the server cannot load it as a model; names what is missing.
    """
    config = _read_config(directory)
    _check_architecture(directory, config)
    if not (directory / "tokenizer.json").is_file():
        raise PermanentError(
            f"{directory} has no tokenizer.json: copy the model's tokenizer files there too"
        )
    context = config.get("max_position_embeddings")
    if not isinstance(context, int) or context < 1:
        raise PermanentError(
            f"{directory / 'config.json'} has no max_position_embeddings, the model's context "
            "length: use the model's original config.json"
        )
    return Checkpoint(
        directory=directory,
        config=config,
        context=context,
        dtype=str(config.get("dtype") or config.get("torch_dtype") or ""),
        tensors=_tensors(directory),
    )


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.is_file():
        raise PermanentError(
            f"{directory} has no config.json, so it is not a model: set the path to the directory "
            "that contains config.json, the weights and the tokenizer"
        )
    config = _read_json(path)
    if not isinstance(config, dict) or "model_type" not in config:
        raise PermanentError(
            f"{path} is not a model's configuration (it has no model_type): set the path to a "
            "directory with a transformers model"
        )
    return config


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise PermanentError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise PermanentError(
            f"{path} is not JSON ({error}): copy the model's original file again"
        ) from error


def _check_architecture(directory: Path, config: dict[str, Any]) -> None:
    model_type = config["model_type"]
    if model_type in ARCHITECTURES:
        return
    served = "; ".join(f"{name} ({known.models})" for name, known in ARCHITECTURES.items())
    raise PermanentError(
        f"{directory / 'config.json'} has architecture {model_type!r}, which this server does not "
        f"support: use a model of a supported architecture: {served}"
    )


def _weight_files(directory: Path) -> list[Path]:
    """Return the weight files: one file, or those that the index names, all present."""
    index = directory / INDEX
    if index.is_file():
        content = _read_json(index)
        names = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(names, dict):
            raise PermanentError(f"{index} has no weight_map: copy the original file again")
        files = [directory / name for name in sorted(set(names.values()))]
    else:
        files = sorted(directory.glob("model.safetensors"))
    if not files:
        others = [f.name for f in directory.iterdir() if f.suffix in (".bin", ".pt", ".gguf")]
        found = f" (it has {', '.join(sorted(others)[:3])})" if others else ""
        raise PermanentError(
            f"{directory} has no weights in safetensors format{found}: put model.safetensors, or "
            f"its shards and {INDEX}, beside config.json"
        )
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise PermanentError(
            f"{directory} lacks {len(missing)} of {len(files)} weight files, the first is "
            f"{missing[0]}: copy the missing files"
        )
    return files


def _tensors(directory: Path) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    for file in _weight_files(directory):
        tensors |= read_header(file)
    for name, tensor in tensors.items():
        if tensor.dtype not in ELEMENT_BYTES:
            raise PermanentError(
                f"the tensor {name} in {tensor.file} is of type {tensor.dtype}, which this server "
                "cannot read: use a copy of the model in bfloat16 or another common type"
            )
    return tensors
