"""The histogram against manual counts and against prometheus_client's."""

import pickle

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Reference

from deepseek_server.engine.histogram import SIZES, Distribution, Histogram, Steps

BOUNDS = (0.5, 1.0, 2.0)


@given(st.lists(st.tuples(st.floats(0, 4) | st.sampled_from(BOUNDS), st.integers(1, 3))))
def test_buckets_equal_those_of_prometheus_client(values: list[tuple[float, int]]) -> None:
    ours = Histogram(BOUNDS)
    reference = Reference("x", "x", registry=CollectorRegistry(), buckets=BOUNDS)
    for value, times in values:
        ours.observe(value, times)
        for _ in range(times):
            reference.observe(value)
    (family,) = reference.collect()
    buckets = [(s.labels["le"], s.value) for s in family.samples if s.name == "x_bucket"]
    assert ours.distribution.cumulative() == buckets
    assert ours.distribution.count == sum(times for _, times in values)
    (total,) = (s.value for s in family.samples if s.name == "x_sum")
    assert abs(ours.distribution.total - total) < 1e-9


def test_a_distribution_is_immutable_and_picklable() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(1)
    before = histogram.distribution
    histogram.observe(9)
    assert (before.count, before.total) == (1, 1)
    assert pickle.loads(pickle.dumps(before)) == before  # noqa: S301


def test_an_empty_histogram() -> None:
    assert Distribution().cumulative() == [("+Inf", 0)]
    assert Distribution().count == 0


def test_steps_count_time_and_size() -> None:
    steps = Steps()
    steps.record(0.02, tokens=520, sequences=9)
    steps.record(0.01, tokens=8, sequences=8)
    assert steps.seconds.distribution.total == 0.03
    assert steps.tokens.distribution.counts[SIZES.index(1024)] == 1
    assert steps.sequences.distribution.total == 17
