"""Liveness and progress of a long start."""

from dataclasses import replace

import pytest

from deepseek_server.config import ModelConfig
from deepseek_server.engine.ipc import NetworkReport, SlowestPair
from deepseek_server.server.lifecycle import STILL_SECONDS, GangState, Lifecycle, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_seconds_left_follow_from_the_speed_so_far() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("loading", 1000)
    assert progress.seconds_left is None
    clock.now += 10
    assert progress.seconds_left is None, "nothing was loaded yet"
    progress.reach(250)
    assert progress.seconds_left == 30
    assert str(progress) == "loading: 25 % of 1000 B, 30 s left"
    progress.reach(1000)
    assert progress.seconds_left == 0
    assert str(progress) == "loading: 100 % of 1000 B"


def test_a_short_time_gives_no_estimate() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("loading", 1000)
    clock.now += 0.1
    progress.reach(1)
    assert progress.seconds_left is None


def test_a_new_stage_restarts_the_estimate() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("downloading", 1000)
    clock.now += 1000
    progress.reach(1000)
    progress.begin("loading", 100)
    clock.now += 2
    progress.reach(50)
    assert progress.seconds_left == 2


def test_without_a_total_there_is_no_estimate() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("starting torch")
    clock.now += 50
    progress.reach(5)
    assert progress.seconds_left is None
    assert str(progress) == "starting torch"


def starting(clock: Clock, seconds: float | None = 1000) -> Lifecycle:
    return Lifecycle(ModelConfig(id="r1"), seconds, clock, progress=Progress(clock))


def test_a_start_without_progress_after_its_time_is_dead() -> None:
    clock = Clock()
    lifecycle = starting(clock)
    lifecycle.progress.begin("loading", 1000)
    clock.now += 1000
    assert not lifecycle.dead()
    clock.now += 1
    reason = lifecycle.dead()
    assert "the start exceeded 1000 s" in reason
    assert "loading: 0 % of 1000 B" in reason


def test_a_start_with_progress_may_exceed_its_time() -> None:
    clock = Clock()
    lifecycle = starting(clock)
    lifecycle.progress.begin("downloading", 10**9)
    for done in range(1, 100):
        clock.now += STILL_SECONDS
        assert not lifecycle.dead()
        lifecycle.progress.reach(done)
    clock.now += STILL_SECONDS + 1
    lifecycle.progress.reach(99)  # the same value is no progress
    assert lifecycle.dead()
    lifecycle.progress.begin("starting torch and transformers")
    assert not lifecycle.dead()


@pytest.mark.parametrize("seconds", [None, 10**6])
def test_a_start_within_its_time_may_make_no_progress(seconds: float | None) -> None:
    clock = Clock()
    lifecycle = starting(clock, seconds)
    clock.now += 10**6
    assert not lifecycle.dead()


def test_the_start_time_only_applies_while_loading() -> None:
    clock = Clock()
    lifecycle = starting(clock)
    lifecycle.fail("no such model")
    clock.now += 10**6
    assert not lifecycle.dead()


def test_the_fields_of_a_gang_are_constant() -> None:
    gang = GangState(pods=2, world=4, host="node-a")
    before = gang.to_json()
    assert before == {
        "pods": 2,
        "world": 4,
        "host": "node-a",
        "transport": None,
        "gigabytesPerSecond": None,
        "slowestPair": None,
        "problem": None,
    }
    pair = SlowestPair(("node-a", "node-b"), 0.11714)
    after = replace(
        gang, network_report=NetworkReport("Socket", 0.25, pair, "the network is too slow")
    ).to_json()
    assert list(after) == list(before)
    assert after["slowestPair"] == {"hosts": ["node-a", "node-b"], "gigabytesPerSecond": 0.117}
    assert after["problem"] == "the network is too slow"


def test_a_hold_does_not_count_as_start_time() -> None:
    clock = Clock()
    lifecycle = Lifecycle(ModelConfig(id="a/b"), 60, clock, progress=Progress(clock))
    lifecycle.hold("group 0 is held until further notice: why")
    clock.now += 10_000
    assert lifecycle.dead() == ""
    assert lifecycle.detail() == "group 0 is held until further notice: why"
    lifecycle.release()
    clock.now += 59
    assert (lifecycle.dead(), lifecycle.detail()) == ("", "starting")
    clock.now += 2
    assert "the start exceeded 60 s" in lifecycle.dead()
