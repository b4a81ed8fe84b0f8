"""GPU memory budget: the cache gets what weights, CUDA graphs and steps leave, minus a reserve.

All other terms are measured before the cache is allocated (models.capacity), so no term is a
guessed share of the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Bytes that libraries allocate later: kernels that are loaded when a rare case first occurs.
LATER = 512 * 2**20
# Fragmentation: a step allocates whole segments, parts of which stay unused.
FRAGMENTS = 0.25  # of a step
# Maximum share of the memory left by the weights that graphs of prefill steps may use.
GRAPHS_SHARE = 0.1


@dataclass(frozen=True)
class MemoryBudget:
    """GPU memory used beside weights and cache, in bytes.

    Attributes:
        free: Free memory when everything permanent is loaded, without a cache.
        step: Memory of the largest step, including sampling.
        graphs: Memory of the CUDA graphs that are still to be captured.
        copies: Share of the cache that attention copies in a step.
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
        """Bytes for the cache; 0 if none are left."""
        left = self.free - self.step - self.graphs - self.kept_free
        return max(int(left / (1 + self.copies)), 0)


def affordable(
    sizes: Sequence[int], step: int, max_num_batched_tokens: int, free: int
) -> list[int]:
    """Return the step sizes whose graphs need no more than their share of the memory.

    Graphs of one pool share its memory, so the largest one decides. It needs the memory of a step
    of that many tokens, and the same again for the inputs and outputs of its pieces.

    Args:
        sizes: Numbers of tokens, ascending.
        step: Bytes that a step of `max_num_batched_tokens` needs.
        max_num_batched_tokens: Tokens of that step.
        free: Free bytes beside the weights.
    """
    budget = GRAPHS_SHARE * free
    return [size for size in sizes if 2 * step * size / max_num_batched_tokens <= budget]


def graphs_bytes(first: int, another: int, count: int) -> int:
    """Return the bytes that graphs of one pool keep.

    Args:
        first: Bytes of the largest graph, including the pool.
        another: Additional bytes of a small graph.
        count: Number of graphs.
    """
    return first + max(count - 1, 0) * another
