"""Retry-After of rejected requests."""

from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.server.retry_after import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(*, per_second: int, seconds: int) -> tuple[Pace, Clock]:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(seconds):
        clock.now += 1
        for _ in range(per_second):
            pace.ended()
    return pace, clock


def test_retry_after_follows_the_rate_of_ends() -> None:
    pace, _ = ended(per_second=4, seconds=120)
    assert pace.retry_after(waiting=40) == 10
    assert pace.retry_after(waiting=64) == 16


def test_retry_after_is_between_a_second_and_a_minute() -> None:
    quick, _ = ended(per_second=100, seconds=60)
    assert quick.retry_after(waiting=64) == 1
    assert quick.retry_after(waiting=0) == 1
    slow, _ = ended(per_second=1, seconds=60)
    assert slow.retry_after(waiting=1000) == 60


def test_a_new_server_uses_the_time_since_its_start() -> None:
    pace, _ = ended(per_second=8, seconds=3)
    assert pace.retry_after(waiting=64) == 8


def test_ends_older_than_a_minute_do_not_count() -> None:
    pace, clock = ended(per_second=50, seconds=60)
    clock.now += 61
    pace.ended()
    assert pace.retry_after(waiting=1) == 60


def test_without_an_end() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.retry_after(waiting=64) == 1
    clock.now += 0.5
    assert pace.retry_after(waiting=64) == 32


@given(st.lists(st.floats(0, 90)), st.integers(0, 10_000))
def test_the_pace_equals_a_count_over_the_window(pauses: list[float], waiting: int) -> None:
    clock = Clock()
    pace = Pace(clock)
    ends = []
    for pause in pauses:
        clock.now += pause
        pace.ended()
        ends.append(int(clock.now))
    counted = sum(end > int(clock.now) - 60 for end in ends)
    exact = waiting * min(clock.now - 1000, 60) / max(counted, 1)
    assert abs(pace.retry_after(waiting) - min(max(exact, 1), 60)) < 1
