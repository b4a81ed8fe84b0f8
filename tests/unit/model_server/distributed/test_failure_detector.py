from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.distributed.failure_detector import FailureDetector


@given(
    silence=st.floats(0.1, 1000),
    silences=st.floats(0, 20),
    late=st.lists(st.floats(0, 1), max_size=50),
)
def test_only_a_silent_rank_is_lost_and_in_time(
    silence: float, silences: float, late: list[float]
) -> None:
    """Two ranks are watched; one always sends heartbeats, the other until it dies. Some are late."""
    dies = silences * silence
    failure_detector = FailureDetector((1, 2), silence, 0.0)
    now, delays = 0.0, iter(late)
    while True:
        now += failure_detector.period * (1 + next(delays, 0.0))
        failure_detector.record_heartbeat(1, now)
        if now < dies:
            failure_detector.record_heartbeat(2, now)
        lost = failure_detector.lost(now)
        if now < dies:
            assert lost is None
        if lost is not None:
            break
        assert now < dies + silence + 4 * failure_detector.period
    assert lost == 2
    assert now > silence * 0.99


def test_a_paused_process_reports_no_lost_rank() -> None:
    failure_detector = FailureDetector((1,), 30, 0)
    assert failure_detector.lost(5) is None
    assert failure_detector.lost(100) is None, "stopped for 95 s, in which the other one went on"
    for now in range(105, 135, 5):
        assert failure_detector.lost(now) is None
    assert failure_detector.lost(135) == 1


def test_a_rank_that_has_left_is_not_watched() -> None:
    failure_detector = FailureDetector((1, 2), 6, 0)
    failure_detector.forget(1)
    failure_detector.record_heartbeat(1, 1)
    for now in range(1, 7):
        assert failure_detector.lost(now) is None
    assert failure_detector.lost(7) == 2


def test_five_lost_heartbeats_are_tolerated() -> None:
    assert FailureDetector((), 30, 0).period <= 30 / 6
