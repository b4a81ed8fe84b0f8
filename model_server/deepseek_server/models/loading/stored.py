"""Location of each tensor of a safetensors file, from the file's header.

A file starts with the length of the header in eight bytes, then the header as JSON, then the bytes
of all tensors without gaps (https://github.com/huggingface/safetensors, "Format").
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepseek_server.errors import PermanentError

# Bytes per element of the types that a header names.
ELEMENT_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
        file: the safetensors file.
        dtype: name of its type in the header, a key of ELEMENT_BYTES if it is supported.
        shape: its dimensions.
        offset: its byte offset in the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.count * ELEMENT_BYTES[self.dtype]

    def __getitem__(self, index: int) -> "Stored":
        """Return one element of the first dimension."""
        part = replace(self, shape=self.shape[1:])
        return replace(part, offset=self.offset + index * part.bytes)


def read_header(file: Path) -> dict[str, Stored]:
    """Return the tensors of a file by name.

    Raises:
        PermanentError: it is not a safetensors file, or an incomplete one.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(_LENGTH_BYTES))
            if length > min(size, _MAX_HEADER_BYTES):
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        begin = _LENGTH_BYTES + length
        tensors = {name: _stored(file, begin, tensor) for name, tensor in header.items()}
        end = begin + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except OSError as error:
        raise PermanentError(f"{file} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, AttributeError, TypeError, struct.error) as error:
        raise PermanentError(
            f"{file} is not a safetensors file ({error}): copy or download it again"
        ) from error
    if size < end:
        raise PermanentError(
            f"{file} is truncated ({size} of {end} bytes): copy or download it again"
        )
    return tensors


def _stored(file: Path, begin: int, tensor: Mapping[str, Any]) -> Stored:
    first, last = tensor["data_offsets"]
    stored = Stored(file, str(tensor["dtype"]), tuple(tensor["shape"]), begin + first)
    if stored.dtype in ELEMENT_BYTES and last - first != stored.bytes:
        raise ValueError(f"a tensor of shape {list(stored.shape)} has {last - first} bytes")
    return stored
