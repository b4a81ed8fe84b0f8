"""Loading of block-scaled fp8 files into transformers' model, independent of the server's loader.

Transformers 5.23 cannot load them: it computes the block size as a matrix's rows divided by the rows
of its scales, which is not 128 for the 576 rows of kv_a_proj_with_mqa.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

BLOCK = 128
INDEX = "model.safetensors.index.json"
_STACK = re.compile(r"(.+\.experts)\.(gate_up_proj|down_proj)")
_PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
Read = Callable[[str], torch.Tensor]


def config(directory: Path) -> dict[str, Any]:
    """Return the content of config.json."""
    content: dict[str, Any] = json.loads((directory / "config.json").read_bytes())
    return content


def fill(model: PreTrainedModel, directory: Path) -> None:
    """Load every parameter and every stored buffer.

    Args:
        model: The model on its device.
        directory: The directory of the model.

    Raises:
        KeyError: The files lack a tensor.
    """
    tensors = dict(model.named_parameters())
    tensors |= {name: buffer for name, buffer in model.named_buffers() if "_bias" in name}
    with torch.no_grad(), _files(directory, model.device) as read:
        for name, tensor in tensors.items():
            if match := _STACK.fullmatch(name):
                _fill_stack(tensor, match[1], _PARTS[match[2]], read)
            else:
                tensor.copy_(read(name))


def _fill_stack(stack: torch.Tensor, experts: str, parts: tuple[str, ...], read: Read) -> None:
    for number, matrix in enumerate(stack):
        for part, rows in zip(parts, matrix.chunk(len(parts)), strict=True):
            rows.copy_(read(f"{experts}.{number}.{part}.weight"))


@contextmanager
def _files(directory: Path, device: torch.device) -> Iterator[Read]:
    """Yield a function that reads a tensor by name and dequantises it if necessary."""
    index = directory / INDEX
    if index.is_file():
        names: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
    else:
        with safe_open(directory / "model.safetensors", "pt") as file:
            names = dict.fromkeys(file.keys(), "model.safetensors")
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(safe_open(directory / name, "pt", device=str(device)))
            for name in set(names.values())
        }

        def stored(name: str) -> torch.Tensor:
            tensor: torch.Tensor = files[names[name]].get_tensor(name)
            return tensor

        def read(name: str) -> torch.Tensor:
            scale = f"{name}_scale_inv"
            return whole(stored(name), stored(scale)) if scale in names else stored(name)

        yield read


def whole(numbers: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Return the dequantised matrix of fp8 values and the scales of their blocks, in float32."""
    rows, columns = numbers.shape
    row = torch.arange(rows, device=numbers.device) // BLOCK
    column = torch.arange(columns, device=numbers.device) // BLOCK
    return numbers.float() * factors.float()[row][:, column]
