"""The steps with which memory is measured."""

from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.models.step_probe import at_context, blocks_needed, largest_step


@given(
    block_size=st.sampled_from([16, 64]),
    max_num_seqs=st.integers(1, 300),
    max_num_batched_tokens=st.integers(2, 9000),
    context=st.integers(2, 200_000),
    part=st.floats(0, 1),
)
def test_the_largest_step_is_a_possible_step_of_a_scheduler(
    block_size: int, max_num_seqs: int, max_num_batched_tokens: int, context: int, part: float
) -> None:
    start = int(min(max_num_batched_tokens, context // 2) * part)
    chunks = largest_step(block_size, max_num_seqs, max_num_batched_tokens, context, start)
    lengths = [len(chunk) for chunk in chunks]
    assert sum(lengths) <= max_num_batched_tokens
    assert sum(lengths) == max_num_batched_tokens or len(chunks) == max_num_seqs
    assert max(chunk.end for chunk in chunks) <= context
    assert [chunk.request_index for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) <= max_num_seqs
    blocks = {block for chunk in chunks for block in chunk.blocks}
    assert max(blocks) < blocks_needed(max_num_batched_tokens, block_size)
    assert all(len(chunk.blocks) * block_size >= chunk.end for chunk in chunks)


def test_growth_with_the_context_is_extrapolated() -> None:
    assert at_context(10_000, (1000, 50), (2000, 60)) == 50 + 90
    assert at_context(10_000, (1000, 50), (2000, 40)) == 50
    assert at_context(1000, (1000, 50), (1000, 50)) == 50
