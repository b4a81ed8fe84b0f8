"""Token counts of growing sequences."""

import gc
import weakref
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.engine.sampling.penalties import Histories

TOKENS = st.lists(st.integers(0, 400), max_size=200)


def as_counts(pairs: list[int]) -> dict[int, int]:
    assert len(set(pairs[::2])) == len(pairs[::2])
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


@given(TOKENS, st.lists(st.lists(st.integers(0, 400), max_size=150), max_size=4))
def test_a_history_equals_a_fresh_count(prompt: list[int], more: list[list[int]]) -> None:
    tokens, histories = list(prompt), Histories()
    for added in [[], *more]:
        tokens += added
        (pairs,) = histories.pairs([(tokens, len(prompt))])
        answer = Counter(tokens[len(prompt) :])
        assert as_counts(pairs.tolist()) == {token: answer[token] for token in tokens}


def test_equal_lists_are_different_sequences() -> None:
    one, other, histories = [1, 2], [1, 2], Histories()
    histories.pairs([(one, 1), (other, 1)])
    one.append(3)
    pairs = histories.pairs([(other, 1), (one, 1)])
    assert [as_counts(part.tolist()) for part in pairs] == [{1: 0, 2: 1}, {1: 0, 2: 1, 3: 1}]


def test_histories_of_removed_sequences_are_dropped() -> None:
    class Tokens(list[int]):
        """A list that can have weak references."""

    tokens, histories = Tokens([1, 2]), Histories()
    histories.pairs([(tokens, 1)])
    watch = weakref.ref(tokens)
    del tokens
    for _ in range(20):
        histories.pairs([([1], 0)])
    gc.collect()
    assert watch() is None
