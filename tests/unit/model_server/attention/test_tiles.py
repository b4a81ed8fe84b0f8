"""Tiles contain every query of a step once, with its blocks, within the budget."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.attention.sparse.tiles import QUERIES, Budget, Tile, tiles
from deepseek_server.engine.runner import Chunk

BLOCK_SIZE, SPARE = 4, 999
# Starts and lengths of chunks: mostly decode tokens.
CHUNKS = st.lists(
    st.tuples(st.integers(0, 300), st.one_of(st.just(1), st.integers(1, 200))),
    min_size=1,
    max_size=12,
)
BUDGETS = st.builds(Budget, st.integers(1, 2**20), st.just(96), st.just(80))


def step_of(extents: list[tuple[int, int]]) -> list[Chunk]:
    """Return chunks of sequences that have more blocks than they need."""
    chunks, first = [], 0
    for start, length in extents:
        count = -(-(start + length) // BLOCK_SIZE) + 2
        blocks = tuple(reversed(range(first, first + count)))
        chunks.append(Chunk((0,) * length, start, blocks, sample=True))
        first += count
    return chunks


def keys_of(tile: Tile) -> int:
    return tile.blocks.shape[1] * BLOCK_SIZE


@given(CHUNKS, BUDGETS)
def test_every_query_is_scored_with_its_own_blocks(
    extents: list[tuple[int, int]], budget: Budget
) -> None:
    chunks = step_of(extents)
    wanted = [
        (position, chunk.blocks[: position // BLOCK_SIZE + 1])
        for chunk in chunks
        for position in range(chunk.start, chunk.end)
    ]
    seen = set()
    for tile in tiles(chunks, BLOCK_SIZE, budget, SPARE):
        for rows, positions, blocks in zip(tile.rows, tile.positions, tile.blocks, strict=True):
            repeated = len(rows) - len(set(rows))
            assert list(rows) == sorted(rows)
            assert list(rows[len(rows) - repeated :]) == [rows[-1]] * repeated
            for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
                expected = wanted[row]
                assert (position, tuple(blocks[: len(expected[1])])) == expected
            assert set(rows).isdisjoint(seen)
            seen |= set(rows)
            last = wanted[rows[-1]][1]
            assert (blocks[len(last) :] == SPARE).all()
    assert seen == set(range(len(wanted)))


@given(CHUNKS, BUDGETS)
def test_only_a_tile_of_a_single_query_may_exceed_the_budget(
    extents: list[tuple[int, int]], budget: Budget
) -> None:
    for tile in tiles(step_of(extents), BLOCK_SIZE, budget, SPARE):
        pieces, queries = tile.rows.shape
        assert queries <= QUERIES
        assert queries & (queries - 1) == 0
        assert budget.allows(pieces, queries, keys_of(tile)) or (pieces, queries) == (1, 1)


@given(CHUNKS, BUDGETS)
def test_padding_is_bounded(extents: list[tuple[int, int]], budget: Budget) -> None:
    for tile in tiles(step_of(extents), BLOCK_SIZE, budget, SPARE):
        assert all(len(set(rows)) * 2 > len(rows) for rows in tile.rows)
        used = (tile.blocks != SPARE).sum(axis=1)
        assert (used * 2 >= tile.blocks.shape[1]).all()


def test_decode_tokens_of_similar_length_are_one_tile() -> None:
    plenty = Budget(2**40, 96, 80)
    (tile,) = tiles(step_of([(300 + n, 1) for n in range(64)]), BLOCK_SIZE, plenty, SPARE)
    assert tile.rows.shape == (64, 1)
    assert np.array_equal(np.sort(tile.rows[:, 0]), np.arange(64))
