"""What is known of resources that are up here, and what is left of those whose supervisor was killed."""

import contextlib
import os
import signal

import psutil

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.output import warn
from deepseek_operator.local import orphans as leftovers
from deepseek_operator.local.state_dir import Place
from deepseek_operator.local.view import View

# How exactly a system tells when a process began.
SAME_SECONDS = 1.0


def place_of(name: str | None) -> Place:
    """The resource that a command is about.

    Args:
        name: Its name; None: the only one.

    Raises:
        CommandError: There is none, or one has to be named.
    """
    found = [place for place in Place.every() if name in (None, place.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(place.name for place in Place.every())
    if name is None and names:
        raise CommandError(f"There are several, name one: {names}.")
    there = f" There are: {names}." if names else ""
    raise CommandError(f"Nothing{f' called {name}' if name else ''} was brought up here.{there}")


def clean(place: Place) -> None:
    """End what a supervisor that was killed has left. Nobody may look after the resource now."""
    before = place.arrangement()
    if before is None or not before.run:
        return
    count = leftovers.end(before.run, None, before.engine)
    if count:
        what = "1 process" if count == 1 else f"{count} processes"
        warn(f"What looked after {place.name} had been killed. It had left {what}, now ended.")


def look(place: Place) -> View | None:
    """How a resource is; where its supervisor was killed, nothing of it is left after that."""
    view = place.view()
    if view is None or view.over or view.killed:
        return view
    lock = place.lock()
    if lock is None:
        return view
    try:
        view = place.view() or view  # it may have ended well just now
        if view.over:
            return view
        clean(place)
        killed = view.of_the_dead()
        place.write_view(killed)
        return killed
    finally:
        os.close(lock)


def ask_to_end(place: Place) -> None:
    """Send the signal to whoever looks after a resource, and to nobody else."""
    view = place.view()
    if view is None or not place.locked:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(view.pid)
        if abs(process.create_time() - view.process_started) < SAME_SECONDS:
            process.send_signal(signal.SIGTERM)
