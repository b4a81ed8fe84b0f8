"""The memory of the KV cache on a CPU."""

import pytest

from deepseek_server.models.capacity import cpu_cache_bytes

GB = 10**9


@pytest.mark.parametrize(
    ("available", "longest", "expected"),
    [(64 * GB, GB // 2, 2**30), (64 * GB, 5 * GB, 5 * GB), (4 * GB, 5 * GB, 2 * GB)],
)
def test_cpu_cache_is_a_gigabyte_or_the_longest_request_but_at_most_half_of_free_memory(
    available: int, longest: int, expected: int
) -> None:
    assert cpu_cache_bytes(available, longest) == expected
