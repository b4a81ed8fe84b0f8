"""From the host to the device: many small arrays in one copy that nobody waits for."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def send(groups: Sequence[Sequence[NDArray[Any]]], device: torch.device) -> list[torch.Tensor]:
    """One tensor on the device for each group, of its arrays one after the other.

    Args:
        groups: arrays of one dimension, all of one type; at least one array.
        device: where to; a CUDA device copies from pinned memory while the host goes on.
    """
    lengths = [sum(map(len, group)) for group in groups]
    arrays = list(chain.from_iterable(groups))
    kind = torch.from_numpy(arrays[0]).dtype
    packed = torch.empty(sum(lengths), dtype=kind, pin_memory=device.type == "cuda")
    np.concatenate(arrays, out=packed.numpy())
    return list(packed.to(device, non_blocking=True).split(lengths))
