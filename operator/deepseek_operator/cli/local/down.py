"""`deepseek local down`: end what serves a resource, and forget it."""

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
# Beyond what a drain may take.
MARGIN_SECONDS = ENDING_SECONDS + 20


def down(
    name: Annotated[
        str | None, typer.Argument(help="Name of the resource. Default: the only one.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for requests that run.")] = False,
) -> None:
    """End what serves a resource once running requests have ended, and remove its logs.

    Raises:
        CommandError: It does not end.
    """
    place = place_of(name)
    if place.locked:
        _end(place, now)
    lock = place.lock()
    if lock is None:
        raise CommandError(f"{place.name} has been brought up again meanwhile.")
    try:
        clean(place)
        place.remove()
    finally:
        os.close(lock)
    warn(f"{place.name} is down.")


def _end(place: Place, now: bool) -> None:
    """Wait until nobody looks after it any more.

    Raises:
        CommandError: It does not end.
    """
    arrangement = place.arrangement()
    seconds = MARGIN_SECONDS + (arrangement.drain_seconds if arrangement and not now else 0)
    deadline = time.monotonic() + seconds
    # Between its lock and its first word it does not hear yet.
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
            f"{place.name} does not end. Look what process {view.pid if view else '?'} does, or "
            f"end it: kill -9 {view.pid if view else 'PID'}, then deepseek local down {place.name}."
        )


def _wait(place: Place, seconds: float) -> None:
    deadline, told = time.monotonic() + seconds, 0
    while place.locked and time.monotonic() < deadline:
        view = place.view()
        if view and view.asked_to_end and view.requests and view.requests != told:
            told = view.requests
            warn(f"Waiting for {told} request{'s' * (told > 1)}; Ctrl-C ends them.")
        time.sleep(LOOK_SECONDS)
