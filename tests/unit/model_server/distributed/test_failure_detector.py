from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.distributed.failure_detector import Pulse


@given(
    silence=st.floats(0.1, 1000),
    silences=st.floats(0, 20),
    late=st.lists(st.floats(0, 1), max_size=50),
)
def test_one_that_falls_silent_is_found_in_time_and_nobody_else(
    silence: float, silences: float, late: list[float]
) -> None:
    """Two are listened to; one beats always, the other until it dies. Beats may be late."""
    dies = silences * silence
    pulse = Pulse((1, 2), silence, 0.0)
    now, delays = 0.0, iter(late)
    while True:
        now += pulse.period * (1 + next(delays, 0.0))
        pulse.heard(1, now)
        if now < dies:
            pulse.heard(2, now)
        lost = pulse.lost(now)
        if now < dies:
            assert lost is None
        if lost is not None:
            break
        assert now < dies + silence + 4 * pulse.period
    assert lost == 2
    assert now > silence * 0.99


def test_who_has_slept_himself_blames_nobody() -> None:
    pulse = Pulse((1,), 30, 0)
    assert pulse.lost(5) is None
    assert pulse.lost(100) is None, "stopped for 95 s, in which the other one went on"
    for now in range(105, 135, 5):
        assert pulse.lost(now) is None
    assert pulse.lost(135) == 1


def test_of_one_that_has_left_nothing_is_expected() -> None:
    pulse = Pulse((1, 2), 6, 0)
    pulse.forget(1)
    pulse.heard(1, 1)
    for now in range(1, 7):
        assert pulse.lost(now) is None
    assert pulse.lost(7) == 2


def test_a_beat_may_be_lost_five_times() -> None:
    assert Pulse((), 30, 0).period <= 30 / 6
