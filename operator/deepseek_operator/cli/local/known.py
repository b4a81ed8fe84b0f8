"""Lookup of resources on this machine, and cleanup after supervisors that were killed."""

import contextlib
import os
import signal

import psutil

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.output import warn
from deepseek_operator.local import orphans as leftovers
from deepseek_operator.local.state_dir import Place
from deepseek_operator.local.view import View

# Precision of a process's start time, in seconds.
SAME_SECONDS = 1.0


def place_of(name: str | None) -> Place:
    """Return the state directory of the resource that a command refers to.

    Args:
        name: Name of the resource; None: the only one.

    Raises:
        CommandError: There is no such resource, or there are several and no name is given.
    """
    found = [place for place in Place.every() if name in (None, place.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(place.name for place in Place.every())
    if name is None and names:
        raise CommandError(f"There are several resources, give the name of one: {names}.")
    there = f" Available: {names}." if names else ""
    raise CommandError(f"No resource{f' {name}' if name else ''} on this machine.{there}")


def clean(place: Place) -> None:
    """Kill the orphans of a supervisor that was killed; no supervisor may be running now."""
    before = place.arrangement()
    if before is None or not before.run:
        return
    count = leftovers.end(before.run, None, before.engine)
    if count:
        what = "1 process" if count == 1 else f"{count} processes"
        warn(f"The supervisor of {place.name} had been killed; killed {what} that it left behind.")


def look(place: Place) -> View | None:
    """Return the status of a resource; clean up first if its supervisor was killed."""
    view = place.view()
    if view is None or view.over or view.killed:
        return view
    lock = place.lock()
    if lock is None:
        return view
    try:
        view = place.view() or view  # it may have exited normally just now
        if view.over:
            return view
        clean(place)
        killed = view.of_the_dead()
        place.write_view(killed)
        return killed
    finally:
        os.close(lock)


def ask_to_end(place: Place) -> None:
    """Send SIGTERM to the supervisor of a resource, and to no other process that reuses its PID."""
    view = place.view()
    if view is None or not place.locked:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(view.pid)
        if abs(process.create_time() - view.process_started) < SAME_SECONDS:
            process.send_signal(signal.SIGTERM)
