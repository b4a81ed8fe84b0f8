"""The share of a GPU's memory for the KV cache and for CUDA graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.models.memory_budget import (
    GRAPHS_SHARE,
    MemoryBudget,
    affordable,
    graphs_bytes,
)

GIB = 2**30
BYTES = st.integers(0, 200 * GIB)


@given(free=BYTES, step=BYTES, graphs=BYTES, copies=st.floats(0, 4))
def test_cache_step_graphs_and_reserve_fit_into_the_free_memory(
    free: int, step: int, graphs: int, copies: float
) -> None:
    budget = MemoryBudget(free, step, graphs, copies)
    assert budget.cache >= 0
    if budget.cache:
        taken = budget.cache * (1 + copies) + step + graphs + budget.kept_free
        assert taken <= free + 1


def test_the_cache_gets_all_remaining_memory() -> None:
    budget = MemoryBudget(free=100 * GIB, step=4 * GIB, graphs=GIB)
    assert budget.cache == 100 * GIB - 4 * GIB - GIB - budget.kept_free
    assert budget.kept_free < 2 * GIB


def test_too_little_memory_gives_no_cache() -> None:
    assert MemoryBudget(free=3 * GIB, step=3 * GIB).cache == 0


SIZES = [32, 64, 512, 2048, 4096]


@given(step=st.integers(1, 100 * GIB), free=BYTES)
def test_graphs_get_at_most_their_share(step: int, free: int) -> None:
    chosen = affordable(SIZES, step, 8192, free)
    assert chosen == SIZES[: len(chosen)]
    if chosen:
        assert 2 * step * chosen[-1] / 8192 <= GRAPHS_SHARE * free
    if len(chosen) < len(SIZES):
        assert 2 * step * SIZES[len(chosen)] / 8192 > GRAPHS_SHARE * free


@pytest.mark.parametrize(("count", "expected"), [(1, 300), (2, 340), (19, 1020)])
def test_each_further_graph_needs_as_much_as_the_second(count: int, expected: int) -> None:
    assert graphs_bytes(first=300, another=40, count=count) == expected
