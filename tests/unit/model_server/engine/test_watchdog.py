"""The watchdog distinguishes a stuck engine from a busy and an idle one."""

from deepseek_server.engine.watchdog import Watchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_report_is_due_from_an_idle_engine() -> None:
    clock = Clock()
    watchdog = Watchdog(60, clock)
    clock.now = 1e6
    assert not watchdog.stuck
    watchdog.expect()
    watchdog.record_report(busy=False)
    clock.now = 2e6
    assert not watchdog.stuck


def test_a_report_is_due_after_a_command() -> None:
    clock = Clock()
    watchdog = Watchdog(60, clock)
    watchdog.expect()
    clock.now = 59
    watchdog.expect()  # further requests do not extend the timeout
    assert not watchdog.stuck
    clock.now = 61
    assert watchdog.stuck


def test_a_busy_engine_that_reports_is_never_stuck() -> None:
    clock = Clock()
    watchdog = Watchdog(60, clock)
    watchdog.expect()
    for _ in range(100):
        clock.now += 50
        assert not watchdog.stuck
        watchdog.record_report(busy=True)
    clock.now += 61
    assert watchdog.stuck
    watchdog.record_report(busy=True)
    assert not watchdog.stuck
