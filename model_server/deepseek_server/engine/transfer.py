"""Asynchronous copy of many small arrays from the host to the device at once."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def send(groups: Sequence[Sequence[NDArray[Any]]], device: torch.device) -> list[torch.Tensor]:
    """Return one tensor on the device for each group, the concatenation of its arrays.

    Args:
        groups: one-dimensional arrays of the same type; at least one array.
        device: the destination; a CUDA device copies from pinned memory asynchronously.
    """
    lengths = [sum(map(len, group)) for group in groups]
    arrays = list(chain.from_iterable(groups))
    kind = torch.from_numpy(arrays[0]).dtype
    packed = torch.empty(sum(lengths), dtype=kind, pin_memory=device.type == "cuda")
    np.concatenate(arrays, out=packed.numpy())
    return list(packed.to(device, non_blocking=True).split(lengths))
