"""Token bitmasks: 32 tokens per word, the first one in the lowest bit."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

WORD = 32


def words_for(vocabulary: int) -> int:
    """Return the number of words of a mask."""
    return -(-vocabulary // WORD)


def without(mask: NDArray[np.int32], tokens: Iterable[int]) -> NDArray[np.int32]:
    """Return a mask without some tokens; the mask itself if no token would be left."""
    left = mask.copy()
    words = left.view(np.uint32)
    for token in tokens:
        words[token // WORD] &= ~np.uint32(1 << token % WORD)
    return left if left.any() else mask


def forbid(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Set the logits of all tokens outside their row's mask to minus infinity.

    Args:
        logits: [n, vocabulary]; may be changed.
        masks: int32, [n, words_for(vocabulary)], on the same device.
    """
    octets = masks.contiguous().view(torch.uint8)[
        :, :, None
    ]  # both kinds of device are little-endian
    bits = (1 << torch.arange(8, device=masks.device)).to(torch.uint8)
    missing = (octets & bits) == 0
    return logits.masked_fill_(missing.flatten(1)[:, : logits.shape[1]], -torch.inf)
