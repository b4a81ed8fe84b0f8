"""What is said about a start that takes long."""

from deepseek_server.lifecycle import Progress


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


def test_a_moment_is_too_short_to_tell_a_speed() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("loading", 1000)
    clock.now += 0.1
    progress.reach(1)
    assert progress.seconds_left is None


def test_a_new_step_is_measured_anew() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("downloading", 1000)
    clock.now += 1000
    progress.reach(1000)
    progress.begin("loading", 100)
    clock.now += 2
    progress.reach(50)
    assert progress.seconds_left == 2


def test_no_total_no_estimate() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("starting torch")
    clock.now += 50
    progress.reach(5)
    assert progress.seconds_left is None
    assert str(progress) == "starting torch"
