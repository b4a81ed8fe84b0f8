"""Choice of the replica for a request."""

from collections import Counter
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.local.pool import Pool


def pool_of(count: int) -> Pool:
    pool = Pool()
    for index in range(count):
        pool.put(index, f"http://{index}")
    return pool


@given(replicas=st.integers(1, 6), requests=st.integers(0, 60))
def test_concurrent_requests_are_spread_evenly(replicas: int, requests: int) -> None:
    pool, got = pool_of(replicas), Counter[int]()
    with ExitStack() as running:
        for _ in range(requests):
            chosen = pool.choose()
            assert chosen is not None
            got[chosen[0]] += 1
            running.enter_context(pool.running(chosen[0]))
        assert pool.requests == requests
    assert pool.requests == 0
    counts = [got[index] for index in range(replicas)]
    assert max(counts) - min(counts) <= 1


def test_the_replica_with_the_fewest_requests_is_chosen() -> None:
    pool = pool_of(3)
    with pool.running(0), pool.running(1), pool.running(1):
        assert pool.choose() == (2, "http://2")
        assert pool.choose({2}) == (0, "http://0")
        pool.drop(2)
        assert pool.choose() == (0, "http://0")
    assert pool.choose({0, 1}) is None
    assert Pool().choose() is None
