"""Start, readiness, restart and failure of a component."""

import os
from pathlib import Path

import pytest

from hack.cluster.component import Component
from hack.cluster.machine import process
from hack.cluster.machine.process import Process


class Clock:
    """A clock in seconds that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(process.time, "monotonic", clock)
    return clock


def finish(watched: Process) -> int:
    """Wait for the real child, as the supervisor does, and return its exit status."""
    assert watched.pid is not None
    _, status = os.waitpid(watched.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    watched.ended(code)
    return code


def test_a_command_is_ready_when_it_has_succeeded(tmp_path: Path, clock: Clock) -> None:
    watched = Process(Component("job", ("true",)), tmp_path)
    watched.advance()
    assert not watched.ready
    clock.now += 2
    finish(watched)
    assert watched.ready
    assert watched.progress().seconds == 2


def test_a_failed_command_is_retried(tmp_path: Path, clock: Clock) -> None:
    flag = tmp_path / "flag"
    watched = Process(Component("job", ("test", "-e", str(flag))), tmp_path)
    watched.advance()
    assert finish(watched) == 1
    watched.advance()
    assert watched.pid is None, "not before its time"
    flag.touch()
    clock.now += process.RETRY_AFTER
    watched.advance()
    finish(watched)
    assert watched.ready


def test_a_changed_command_runs_again(tmp_path: Path, clock: Clock) -> None:
    watched = Process(Component("job", ("true",)), tmp_path)
    watched.advance()
    finish(watched)
    watched.change(Component("job", ("true",)))
    assert watched.ready
    watched.change(Component("job", ("true", "other")))
    assert not watched.ready
    watched.advance()
    finish(watched)
    assert watched.ready


def test_a_command_that_changes_while_it_runs_runs_again(tmp_path: Path, clock: Clock) -> None:
    watched = Process(Component("job", ("true",)), tmp_path)
    watched.advance()
    watched.change(Component("job", ("true", "other")))
    finish(watched)
    assert not watched.ready
    watched.advance()
    finish(watched)
    assert watched.ready


def test_a_program_is_ready_when_its_probe_succeeds(tmp_path: Path, clock: Clock) -> None:
    answers = iter([False, True])
    component = Component("server", ("sleep", "60"), probe=lambda: next(answers))
    watched = Process(component, tmp_path)
    watched.advance()
    watched.advance()
    assert not watched.ready
    clock.now += process.PROBE_EVERY
    watched.advance()
    assert watched.ready
    assert watched.pid is not None
    os.kill(watched.pid, 9)
    finish(watched)


def test_a_program_that_exits_is_restarted_and_counted(tmp_path: Path, clock: Clock) -> None:
    watched = Process(Component("server", ("true",), probe=lambda: True), tmp_path)
    watched.advance()
    watched.advance()
    assert watched.ready
    finish(watched)
    assert not watched.ready
    assert watched.progress().restarts == 1
    clock.now += process.RESTART_AFTER
    watched.advance()
    assert watched.pid is not None
    finish(watched)


def test_a_program_that_never_becomes_ready_fails(tmp_path: Path, clock: Clock) -> None:
    watched = Process(Component("server", ("false",), probe=lambda: False), tmp_path)
    for _ in range(process.ATTEMPTS):
        watched.advance()
        finish(watched)
        clock.now += process.RESTART_AFTER
    assert watched.progress().state == "failed"
    assert "server.log" in watched.progress().message
    watched.advance()
    assert watched.pid is None
