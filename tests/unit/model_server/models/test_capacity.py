"""How much memory the cache gets."""

import pytest

from deepseek_server.models.capacity import cpu_cache_bytes

GB = 10**9


@pytest.mark.parametrize(
    ("available", "longest", "expected"),
    [(64 * GB, GB // 2, 2**30), (64 * GB, 5 * GB, 5 * GB), (4 * GB, 5 * GB, 2 * GB)],
)
def test_a_cpu_gives_a_gigabyte_or_the_longest_request_but_half_of_what_is_free_at_most(
    available: int, longest: int, expected: int
) -> None:
    assert cpu_cache_bytes(available, longest) == expected
