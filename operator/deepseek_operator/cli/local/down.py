"""`deepseek local down`: stop the servers of a resource and remove its state."""

import os
import time
from typing import Annotated

import typer

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.local.known import clean, request_stop, state_dir_of
from deepseek_operator.cli.output import warn
from deepseek_operator.local.replica_supervisor import ENDING_SECONDS
from deepseek_operator.local.state_dir import StateDir

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
    state_dir = state_dir_of(name)
    if state_dir.locked:
        _end(state_dir, now)
    lock = state_dir.lock()
    if lock is None:
        raise CommandError(f"{state_dir.name} was started again in the meantime.")
    try:
        clean(state_dir)
        state_dir.remove()
    finally:
        os.close(lock)
    warn(f"{state_dir.name} is stopped and removed.")


def _end(state_dir: StateDir, now: bool) -> None:
    """Stop the supervisor and wait for its exit.

    Raises:
        CommandError: The supervisor does not exit.
    """
    launch_plan = state_dir.launch_plan()
    seconds = MARGIN_SECONDS + (launch_plan.drain_seconds if launch_plan and not now else 0)
    deadline = time.monotonic() + seconds
    # Until a supervisor has written its state, it does not handle signals.
    while state_dir.locked and state_dir.view() is None and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    request_stop(state_dir)
    try:
        _wait(state_dir, LOOK_SECONDS if now else deadline - time.monotonic())
    except KeyboardInterrupt:
        now = True
    if now:
        request_stop(state_dir)
        _wait(state_dir, MARGIN_SECONDS)
    if state_dir.locked:
        view = state_dir.view()
        raise CommandError(
            f"{state_dir.name} does not stop. Check its supervisor, process {view.pid if view else '?'}, or "
            f"kill it: kill -9 {view.pid if view else 'PID'}, then deepseek local down {state_dir.name}."
        )


def _wait(state_dir: StateDir, seconds: float) -> None:
    deadline, reported = time.monotonic() + seconds, 0
    while state_dir.locked and time.monotonic() < deadline:
        view = state_dir.view()
        if view and view.asked_to_end and view.requests and view.requests != reported:
            reported = view.requests
            warn(
                f"Waiting for {reported} running request{'s' * (reported > 1)}; Ctrl-C aborts them."
            )
        time.sleep(LOOK_SECONDS)
