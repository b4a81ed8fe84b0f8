"""State on disk, its lock, and orphaned processes of a run."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deepseek_operator.local import orphans
from deepseek_operator.local import state_dir as state_dirs
from deepseek_operator.local.commands import MARK
from deepseek_operator.local.state_dir import StateDir, cut, tail
from tests.unit.operator.local.views import view


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    monkeypatch.setattr(state_dirs, "root", lambda: tmp_path / "local")
    return StateDir.of("r1")


def test_the_lock_is_exclusive(state_dir: StateDir) -> None:
    lock = state_dir.lock()
    assert lock is not None
    assert state_dir.locked
    assert state_dir.lock() is None
    os.close(lock)
    assert not state_dir.locked
    assert state_dir.directory.stat().st_mode & 0o777 == 0o700


def test_a_process_that_inherits_the_lock_holds_it(state_dir: StateDir) -> None:
    lock = state_dir.lock()
    assert lock is not None
    with subprocess.Popen(["sleep", "60"], pass_fds=(lock,)) as heir:
        os.close(lock)
        assert state_dir.locked
        heir.kill()
        heir.wait()
        assert not state_dir.locked


def test_a_lock_file_removed_during_locking_is_created_again(
    state_dir: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, removed = fcntl.flock, []

    def flock(opened: int, how: int) -> None:
        if not removed:  # another command removes the file between open and flock
            removed.append(opened)
            state_dir.remove()
        taken(opened, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = state_dir.lock()
    assert lock is not None
    assert state_dir.locked
    assert state_dir.lock() is None
    os.close(lock)


def test_status_is_stored_and_read(state_dir: StateDir) -> None:
    assert state_dir.view() is None
    assert state_dir.launch_plan() is None
    lock = state_dir.lock()
    state_dir.write_view(view())
    assert state_dir.view() == view()
    (state_dir.directory / "state.json").write_text("{")
    assert state_dir.view() is None
    state_dir.clear()
    assert [path.name for path in state_dir.directory.iterdir()] == ["lock"]
    assert lock is not None
    os.close(lock)


def test_tail_returns_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 3) == []
    log.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert tail(log, 2) == ["line 998", "line 999"]
    assert tail(log, 0) == []


def test_a_log_is_rotated_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_dirs, "LOG_BYTES", 100)
    log = tmp_path / "replica-0.log"
    with log.open("ab", buffering=0) as written:
        written.write(b"x" * 50)
        cut(log)
        assert log.stat().st_size == 50
        written.write(b"y" * 100)
        cut(log)
        written.write(b"z")
    assert log.read_bytes() == b"z"
    assert (tmp_path / "replica-0.log.1").stat().st_size == 150


def test_only_marked_processes_are_killed() -> None:
    def sleeping(mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: mark})

    run = f"run-{os.getpid()}"
    ours, second, foreign = (sleeping(mark) for mark in (f"{run}/0", f"{run}/1", f"{run}-other/0"))
    try:
        assert orphans.end(run, 0) == 1
        assert ours.poll() is not None
        assert second.poll() is None
        assert orphans.end(run) == 1
        assert foreign.poll() is None
        assert orphans.end(run) == 0
    finally:
        for process in (ours, second, foreign):
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_the_kernel_kills_a_child_with_its_parent() -> None:
    parent = (
        "import os, subprocess, sys\n"
        "module = 'deepseek_operator.local.exec_with_parent_death'\n"
        "wrapper = [sys.executable, '-m', module, str(os.getpid())]\n"
        "quiet = subprocess.DEVNULL\n"
        "child = subprocess.Popen([*wrapper, 'sleep', '60'], stdout=quiet, start_new_session=True)\n"
        "while 'sleep' not in open(f'/proc/{child.pid}/cmdline').read().split('\\0')[0]: pass\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, check=False
    )
    assert result.returncode == -9
    try:
        child = psutil.Process(int(result.stdout))
    except psutil.NoSuchProcess:
        return
    eventually_gone(child)


def eventually_gone(process: psutil.Process) -> None:
    """Wait until a process has exited; it may still be a zombie."""
    deadline = time.monotonic() + 5
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {process.pid} has outlived its parent"
        time.sleep(0.01)
