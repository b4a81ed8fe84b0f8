"""Random numbers of a sequence: uniform, and equal to the published generator's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.engine.sampling.rng import BITS, uniform

MASK = 2**64 - 1
WEYL = 0x9E3779B97F4A7C15


def mix(number: int) -> int:
    """Yield SplitMix64's output for a state."""
    number = (number + WEYL) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def test_the_generator_is_splitmix64() -> None:
    # The first outputs for the state 1234567 as listed on Rosetta Code, task Splitmix64.
    outputs = [mix((1234567 + n * WEYL) & MASK) for n in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(st.tuples(st.integers(-(2**70), 2**70), st.integers(0, 2**40)), max_size=20))
def test_numbers_do_not_depend_on_the_batch(pairs: list[tuple[int, int]]) -> None:
    numbers = uniform([seed for seed, _ in pairs], [index for _, index in pairs])
    alone = [(mix(mix(seed & MASK) + index * WEYL) & MASK) >> (64 - BITS) for seed, index in pairs]
    assert numbers.tolist() == alone


def test_numbers_are_uniform_along_indices_and_seeds() -> None:
    count, bins = 100_000, 100
    for numbers in (
        uniform([1] * count, range(count)),
        uniform(range(count), [0] * count),
    ):
        assert numbers.min() >= 0
        assert numbers.max() < 2**BITS
        counts = np.bincount(numbers.astype(np.int64) * bins // 2**BITS)
        statistic = ((counts - count / bins) ** 2).sum() / (count / bins)
        assert len(counts) == bins
        assert statistic < 174  # one in 100,000 at 99 degrees of freedom
