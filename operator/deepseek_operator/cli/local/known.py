"""Lookup of resources on this machine, and cleanup after supervisors that were killed."""

import contextlib
import os
import signal

import psutil

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.output import warn
from deepseek_operator.local import orphans
from deepseek_operator.local.state_dir import StateDir
from deepseek_operator.local.view import View

# Precision of a process's start time, in seconds.
SAME_SECONDS = 1.0


def state_dir_of(name: str | None) -> StateDir:
    """Return the state directory of the resource that a command refers to.

    Args:
        name: Name of the resource; None: the only one.

    Raises:
        CommandError: There is no such resource, or there are several and no name is given.
    """
    found = [state_dir for state_dir in StateDir.every() if name in (None, state_dir.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(state_dir.name for state_dir in StateDir.every())
    if name is None and names:
        raise CommandError(f"There are several resources, give the name of one: {names}.")
    there = f" Available: {names}." if names else ""
    raise CommandError(f"No resource{f' {name}' if name else ''} on this machine.{there}")


def clean(state_dir: StateDir) -> None:
    """Kill the orphans of a supervisor that was killed; no supervisor may be running now."""
    before = state_dir.launch_plan()
    if before is None or not before.run:
        return
    count = orphans.end(before.run, None, before.engine)
    if count:
        what = "1 process" if count == 1 else f"{count} processes"
        warn(
            f"The supervisor of {state_dir.name} had been killed; killed {what} that it left behind."
        )


def look(state_dir: StateDir) -> View | None:
    """Return the status of a resource; clean up first if its supervisor was killed."""
    view = state_dir.view()
    if view is None or view.over or view.killed:
        return view
    lock = state_dir.lock()
    if lock is None:
        return view
    try:
        view = state_dir.view() or view  # it may have exited normally just now
        if view.over:
            return view
        clean(state_dir)
        killed = view.of_the_dead()
        state_dir.write_view(killed)
        return killed
    finally:
        os.close(lock)


def request_stop(state_dir: StateDir) -> None:
    """Send SIGTERM to the supervisor of a resource, and to no other process that reuses its PID."""
    view = state_dir.view()
    if view is None or not state_dir.locked:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(view.pid)
        if abs(process.create_time() - view.process_started) < SAME_SECONDS:
            process.send_signal(signal.SIGTERM)
