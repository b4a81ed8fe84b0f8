"""Random numbers of a sequence: one for each of its tokens, without state.

A number depends only on the sequence's seed and its number of tokens. So a request gets the same
numbers whatever else is in the batch, and again after a preemption.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BITS = 24  # as many as a float32 holds

_MASK = 2**64 - 1
_WEYL = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio


def uniform(seeds: Sequence[int], indices: Sequence[int]) -> NDArray[np.int32]:
    """Return uniform integers from 0 to 2^BITS - 1, one for each pair of seed and index.

    Args:
        seeds: any integers; the lowest 64 bits are used.
        indices: number of tokens that each sequence has generated before.
    """
    starts = np.array([seed & _MASK for seed in seeds], dtype=np.uint64)
    steps = np.array(indices, dtype=np.uint64)
    mixed = _mix(_mix(starts) + steps * _WEYL)
    return (mixed >> np.uint64(64 - BITS)).astype(np.int32)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64 bits: one step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    numbers = numbers + _WEYL
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
