"""What of a GPU's memory becomes cache: all that weights, graphs and steps leave, but a known rest.

Every other term is measured before the cache is made (models.capacity), so nothing here is a share
of the memory that happens to be enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Bytes that libraries take later: kernels that are loaded when a rare case first comes up.
LATER = 512 * 2**20
# Fragments: what a step takes of the allocator is in whole segments, some of which stay unused.
FRAGMENTS = 0.25  # of a step
# What graphs of steps with prompts may keep to themselves, as a share of what weights leave free.
GRAPHS_SHARE = 0.1


@dataclass(frozen=True)
class Beside:
    """What a GPU holds beside weights and cache, in bytes.

    Attributes:
        free: What is free while everything is loaded that stays, without a cache.
        step: What the largest step takes beside that, and choosing its tokens.
        graphs: What graphs that are still to be captured will keep.
        copies: What attention copies of the cache in a step, as a share of the cache.
    """

    free: int
    step: int
    graphs: int = 0
    copies: float = 0.0

    @property
    def kept_free(self) -> int:
        """Bytes that stay free even in the largest step."""
        return LATER + int(FRAGMENTS * self.step)

    @property
    def cache(self) -> int:
        """Bytes for the cache; 0 where there are none."""
        left = self.free - self.step - self.graphs - self.kept_free
        return max(int(left / (1 + self.copies)), 0)


def affordable(sizes: Sequence[int], step: int, step_tokens: int, free: int) -> list[int]:
    """Return the sizes of steps whose graphs take no more than their share of the memory.

    Graphs of one pool share its memory, so the largest one decides; it takes what a step of that
    many tokens takes, and once more for what goes in and out of its pieces.

    Args:
        sizes: Numbers of tokens, ascending.
        step: Bytes that a step of `step_tokens` takes.
        step_tokens: Tokens of that step.
        free: Bytes that weights leave free.
    """
    budget = GRAPHS_SHARE * free
    return [size for size in sizes if 2 * step * size / step_tokens <= budget]


def graphs_bytes(first: int, another: int, count: int) -> int:
    """Return the bytes that graphs of one pool keep.

    Args:
        first: What the largest one took, with the pool.
        another: What a small one took in addition.
        count: How many there will be.
    """
    return first + max(count - 1, 0) * another
