"""How much memory the cache gets."""

import pytest

from deepseek_server.models.capacity import cpu_cache_bytes, gpu_cache_bytes

GB = 10**9


def test_steps_that_are_recorded_keep_their_memory_beside_the_cache() -> None:
    """On 80 GB the rest of a tenth was not enough for them: a server of 7B could not start."""
    plain, recorded = (gpu_cache_bytes(64 * GB, 3 * GB, recorded=r) for r in (False, True))
    assert plain == int(0.9 * 64 * GB) - 3 * GB
    assert plain - recorded == 3 * GB


def test_where_there_is_too_little_there_is_no_cache() -> None:
    assert gpu_cache_bytes(3 * GB, 3 * GB) == 0


@pytest.mark.parametrize(
    ("available", "longest", "expected"),
    [(64 * GB, GB // 2, 2**30), (64 * GB, 5 * GB, 5 * GB), (4 * GB, 5 * GB, 2 * GB)],
)
def test_a_cpu_gives_a_gigabyte_or_the_longest_request_but_half_of_what_is_free_at_most(
    available: int, longest: int, expected: int
) -> None:
    assert cpu_cache_bytes(available, longest) == expected
