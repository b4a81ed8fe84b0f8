"""Locations of a step's tokens and entries, against a simple model of whole sequences."""

from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.attention.compressed.step import Step
from deepseek_server.engine.runner import Chunk

BLOCK_SIZE, RATE = 12, 4
EXTENTS = st.lists(
    st.tuples(st.integers(0, 60), st.one_of(st.just(1), st.integers(1, 70))),
    min_size=1,
    max_size=6,
)


def chunks_of(extents: list[tuple[int, int]]) -> list[Chunk]:
    chunks, first = [], 0
    for request_index, (start, length) in enumerate(reversed(extents)):
        count = -(-(start + length) // BLOCK_SIZE) + 1
        blocks = tuple(reversed(range(first, first + count)))
        chunks.append(Chunk((0,) * length, start, blocks, sample=True, request_index=request_index))
        first += count
    return chunks


def tokens_of(chunks: list[Chunk]) -> list[tuple[Chunk, int]]:
    return [(chunk, position) for chunk in chunks for position in range(chunk.start, chunk.end)]


@given(EXTENTS)
def test_rows_have_their_chunks_and_positions(extents: list[tuple[int, int]]) -> None:
    chunks = chunks_of(extents)
    step, expected = Step(chunks), tokens_of(chunks)
    found = [(chunks[chunk], int(at)) for chunk, at in zip(step.chunk, step.positions, strict=True)]
    assert found == expected
    origin = step.origin
    for row, (chunk, position) in enumerate(expected):
        assert origin.begin[row] + position - origin.start[row] == row
        assert (origin.start[row], origin.request_index[row]) == (chunk.start, chunk.request_index)


@given(EXTENTS, st.integers(1, 30))
def test_a_ring_buffer_keeps_the_last_tokens_of_each_chunk(
    extents: list[tuple[int, int]], size: int
) -> None:
    chunks = chunks_of(extents)
    rows, indices = Step(chunks).ring(size)
    kept = [(row, chunk, position) for row, (chunk, position) in enumerate(tokens_of(chunks))]
    kept = [(row, chunk, at) for row, chunk, at in kept if at >= chunk.end - size]
    assert rows.tolist() == [row for row, _, _ in kept]
    assert indices.tolist() == [chunk.request_index * size + at % size for _, chunk, at in kept]
    assert len(set(indices.tolist())) == len(indices)


@given(EXTENTS)
def test_entries_are_completed_by_their_last_token(extents: list[tuple[int, int]]) -> None:
    chunks = chunks_of(extents)
    positions, indices, origin = Step(chunks).completed(RATE, BLOCK_SIZE)
    per_block = BLOCK_SIZE // RATE
    expected = [
        (
            at - RATE + 1,
            chunk.blocks[at // BLOCK_SIZE] * per_block + at % BLOCK_SIZE // RATE,
            chunk.request_index,
        )
        for chunk, at in tokens_of(chunks)
        if at % RATE == RATE - 1
    ]
    assert list(zip(positions, indices, origin.request_index, strict=True)) == expected
