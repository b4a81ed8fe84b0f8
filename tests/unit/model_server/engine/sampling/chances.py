"""Expected token distributions, computed in float64 and independently of the sampler."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepseek_server.engine.types import Sampling


def chances(logits: Sequence[float], sampling: Sampling) -> NDArray[np.float64]:
    """Return the distribution of a request; its logits have been adjusted already."""
    scaled = np.array(logits, dtype=np.float64) / sampling.temperature
    chances = normal(np.exp(scaled - scaled.max()))
    chances = normal(np.where(chances >= sampling.min_p * chances.max(), chances, 0))
    if sampling.top_k:
        least = sorted(chances, reverse=True)[: sampling.top_k][-1]
        chances = normal(np.where(chances >= least, chances, 0))
    mass, least = 0.0, 1.0
    for chance in sorted(chances, reverse=True):
        if mass < sampling.top_p:
            least = chance
        mass += chance
    return normal(np.where(chances >= least, chances, 0))


def normal(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights / weights.sum()


def too_unlikely(counts: Sequence[int], chances: Sequence[float]) -> bool:
    """A chi-square test at one in a million (Wilson and Hilferty's approximation)."""
    total = sum(counts)
    kept = [(n, p * total) for n, p in zip(counts, chances, strict=True) if p > 0]
    assert all(n == 0 for n, p in zip(counts, chances, strict=True) if p == 0)
    degrees = len(kept) - 1
    if degrees == 0:
        return False
    statistic = sum((n - expected) ** 2 / expected for n, expected in kept)
    spread = 2 / (9 * degrees)
    return ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) > 4.75
