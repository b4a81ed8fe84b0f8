"""Measurement of a model's cache bytes per token and per sequence, where there is no formula.

The caches of transformers differ by family, and a sum over the tensors of a real cache is right for
all of them. Measurements at two lengths give a line: a constant per sequence (a window, tokens that
wait to be compressed) and a slope per token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from deepseek_server.models.runners.sequence_cache import SequenceCache

SHORTEST = 64  # tokens of the shortest prompt that is representative of longer ones


@dataclass(frozen=True)
class Footprint:
    """Size of a sequence's cache.

    Attributes:
        per_sequence: bytes that do not depend on its length.
        per_token: bytes for each of its tokens.
    """

    per_sequence: int
    per_token: int

    def of(self, tokens: int) -> int:
        """Return the maximum bytes of a sequence with the given number of tokens."""
        return self.per_sequence + tokens * self.per_token


def measure_cache(model: PreTrainedModel) -> Footprint:
    """Return the size of a sequence's cache, measured with two short prompts."""
    shorter, longer = _lengths(model.config)
    at_shorter, at_longer = (_bytes_after(model, length) for length in (shorter, longer))
    per_token = -(-(at_longer - at_shorter) // (longer - shorter))
    return Footprint(max(at_shorter - shorter * per_token, 0), per_token)


def measure_step(model: PreTrainedModel, tokens: int, context: int) -> int:
    """Return the GPU memory that a step needs beside the weights, at the end of a full context.

    The memory of a step grows with the tokens before it, at most linearly. So two consecutive steps
    are measured and the line through them is extrapolated.

    Args:
        model: A model on a GPU.
        tokens: Tokens of the largest step.
        context: Tokens of the longest sequence.
    """
    SequenceCache(model).extend(_zeros(model, tokens))  # warm-up: libraries load their kernels
    cache = SequenceCache(model)
    first, second = (peak(lambda: cache.extend(_zeros(model, tokens))) for _ in range(2))
    return math.ceil(first + max(second - first, 0) * max(context / tokens - 1, 0))


def _lengths(config: PreTrainedConfig) -> tuple[int, int]:
    """Return two prompt lengths through which the line is exact.

    Both are longer than the window and one token short of completing every stretch that is
    compressed into one entry, where the number of waiting tokens is largest.
    """
    stretch = math.lcm(*(getattr(config, "compress_rates", None) or {}).values())
    stretch *= -(-SHORTEST // stretch)
    window = getattr(config, "sliding_window", None) or 0
    count = window // stretch + 1
    return count * stretch - 1, (count + 1) * stretch - 1


def _bytes_after(model: PreTrainedModel, length: int) -> int:
    cache = SequenceCache(model)
    cache.extend(_zeros(model, length))
    return cache.nbytes


def peak(step: Callable[[], object]) -> int:
    """Return the bytes of GPU memory that a step needs beside what is allocated already."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def _zeros(model: PreTrainedModel, length: int) -> torch.Tensor:
    return torch.zeros(length, dtype=torch.int64, device=model.device)
