"""What a model takes per token and per sequence, where no formula says so: measured.

The caches of transformers differ by family, and a sum over the tensors of a real one is right for
all of them. Two lengths give a line: a share for every sequence (a window, tokens that wait for
being compressed) and a share for every token.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from deepseek_server.models.runners.sequence_cache import SequenceCache

SHORTEST = 64  # tokens, of a prompt that says something about longer ones


@dataclass(frozen=True)
class Footprint:
    """Bytes of a sequence's cache.

    Attributes:
        per_sequence: bytes that do not grow with its length.
        per_token: bytes for each of its tokens.
    """

    per_sequence: int
    per_token: int

    def of(self, tokens: int) -> int:
        """Bytes that a sequence of so many tokens takes at most."""
        return self.per_sequence + tokens * self.per_token


def measure_cache(model: PreTrainedModel) -> Footprint:
    """Run two short prompts and sum up the tensors of their caches."""
    shorter, longer = _lengths(model.config)
    at_shorter, at_longer = (_bytes_after(model, length) for length in (shorter, longer))
    per_token = -(-(at_longer - at_shorter) // (longer - shorter))
    return Footprint(max(at_shorter - shorter * per_token, 0), per_token)


def measure_step(model: PreTrainedModel, tokens: int, context: int) -> int:
    """Bytes of GPU memory that a step takes beside the weights, at the end of a full context.

    What a step takes grows with the tokens before it, at most in proportion. So two steps are
    measured, one behind the other, and the rest of the line is drawn from them.

    Args:
        model: A model on a GPU.
        tokens: Tokens of the largest step.
        context: Tokens of the longest sequence.
    """
    SequenceCache(model).extend(_zeros(model, tokens))  # libraries load their kernels
    cache = SequenceCache(model)
    first, second = (peak(lambda: cache.extend(_zeros(model, tokens))) for _ in range(2))
    return math.ceil(first + max(second - first, 0) * max(context / tokens - 1, 0))


def _lengths(config: PreTrainedConfig) -> tuple[int, int]:
    """Two lengths of which the line is true.

    Both are longer than the window and one token short of closing every stretch that is compressed
    into one entry, when the most tokens wait.
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
    """Return the bytes of GPU memory that a step takes beside what is allocated already."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def _zeros(model: PreTrainedModel, length: int) -> torch.Tensor:
    return torch.zeros(length, dtype=torch.int64, device=model.device)
