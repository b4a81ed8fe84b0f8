"""`deepseek local down`: stop the servers of a resource and remove its state."""

import os
import time
from typing import Annotated

import typer

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.local.known import ask_to_end, clean, place_of
from deepseek_operator.cli.output import warn
from deepseek_operator.local.replica_supervisor import ENDING_SECONDS
from deepseek_operator.local.state_dir import Place

LOOK_SECONDS = 0.1
# Added to the drain timeout.
MARGIN_SECONDS = ENDING_SECONDS + 20


def down(
    name: Annotated[
        str | None, typer.Argument(help="Name of the resource. Default: the only one.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Do not drain running requests.")] = False,
) -> None:
    """Stop the servers of a resource after draining running requests, and remove its logs.

    Exit code 2: the resource is unknown, or its servers do not stop.
    """
    place = place_of(name)
    if place.locked:
        _end(place, now)
    lock = place.lock()
    if lock is None:
        raise CommandError(f"{place.name} was started again in the meantime.")
    try:
        clean(place)
        place.remove()
    finally:
        os.close(lock)
    warn(f"{place.name} is stopped and removed.")


def _end(place: Place, now: bool) -> None:
    """Stop the supervisor and wait for its exit.

    Raises:
        CommandError: The supervisor does not exit.
    """
    arrangement = place.arrangement()
    seconds = MARGIN_SECONDS + (arrangement.drain_seconds if arrangement and not now else 0)
    deadline = time.monotonic() + seconds
    # Until a supervisor has written its state, it does not handle signals.
    while place.locked and place.view() is None and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    ask_to_end(place)
    try:
        _wait(place, LOOK_SECONDS if now else deadline - time.monotonic())
    except KeyboardInterrupt:
        now = True
    if now:
        ask_to_end(place)
        _wait(place, MARGIN_SECONDS)
    if place.locked:
        view = place.view()
        raise CommandError(
            f"{place.name} does not stop. Check its supervisor, process {view.pid if view else '?'}, or "
            f"kill it: kill -9 {view.pid if view else 'PID'}, then deepseek local down {place.name}."
        )


def _wait(place: Place, seconds: float) -> None:
    deadline, told = time.monotonic() + seconds, 0
    while place.locked and time.monotonic() < deadline:
        view = place.view()
        if view and view.asked_to_end and view.requests and view.requests != told:
            told = view.requests
            warn(f"Waiting for {told} running request{'s' * (told > 1)}; Ctrl-C aborts them.")
        time.sleep(LOOK_SECONDS)
