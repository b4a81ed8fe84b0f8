"""Sets of tokens as bits: 32 tokens to a word, the first one lowest."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

WORD = 32


def words_for(vocabulary: int) -> int:
    """How many words a set of tokens takes."""
    return -(-vocabulary // WORD)


def without(mask: NDArray[np.int32], tokens: Iterable[int]) -> NDArray[np.int32]:
    """A set less some tokens, unless nothing would be left: then the set as it is."""
    left = mask.copy()
    words = left.view(np.uint32)
    for token in tokens:
        words[token // WORD] &= ~np.uint32(1 << token % WORD)
    return left if left.any() else mask


def forbid(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Make every token impossible that is not in its row's set.

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
