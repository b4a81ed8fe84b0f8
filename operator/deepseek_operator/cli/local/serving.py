"""Has an arrangement run: in this process until Ctrl-C, or in one of its own."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time

from deepseek_operator.cli.errors import CommandError, FailedError
from deepseek_operator.cli.local.known import ask_to_end, clean
from deepseek_operator.cli.local.listening import listen
from deepseek_operator.cli.local.watch import Watch
from deepseek_operator.cli.output import warn
from deepseek_operator.local import restarts
from deepseek_operator.local.launch_plan import Arrangement
from deepseek_operator.local.state_dir import Place, tail
from deepseek_operator.local.supervisor import Supervisor

LOOK_SECONDS = 0.3


def serve(arrangement: Arrangement, host: str, port: int, detach: bool) -> None:
    """Start it where nobody else has its name or its port.

    Raises:
        CommandError: Somebody has.
        FailedError: All replicas have failed.
    """
    place = Place.of(arrangement.name)
    lock = place.lock()
    if lock is None:
        view = place.view()
        where = f" at {view.endpoint}/v1" if view else ""
        raise CommandError(
            f"{arrangement.name} is up already{where}: bring it down with deepseek local down "
            f"{arrangement.name}, or give the resource another name."
        )
    try:
        listening = _listen(place, host, port)
        clean(place)
        place.clear()
        arrangement = arrangement.model_copy(update={"run": secrets.token_hex(8)})
        place.write_arrangement(arrangement)
        count = len(arrangement.replicas)
        warn(
            f"Starting {count} replica{'s' * (count > 1)} of {arrangement.model_id}, "
            f"{'each ' * (count > 1)}on {arrangement.runs_on}, from {arrangement.source}. {restarts.POLICY}"
        )
        if detach:
            _detached(place, lock, listening)
        else:
            _attached(arrangement, place, listening)
    finally:
        os.close(lock)


def _listen(place: Place, host: str, port: int) -> socket.socket:
    """Take a port; where that fails a name that was never up stays unknown.

    Raises:
        CommandError: Somebody has it.
    """
    try:
        return listen(host, port)
    except CommandError:
        if place.arrangement() is None:
            place.remove()
        raise


def _attached(arrangement: Arrangement, place: Place, listening: socket.socket) -> None:
    with Watch(hint="Ctrl-C ends it.") as watch:
        as_asked = asyncio.run(_run(arrangement, place, listening, watch))
    if not as_asked:
        raise FailedError(_failed(arrangement.name))
    warn("Ended.")


async def _run(
    arrangement: Arrangement, place: Place, listening: socket.socket, watch: Watch
) -> bool:
    return await Supervisor(arrangement, place, listening, watch).run()


def _detached(place: Place, lock: int, listening: socket.socket) -> None:
    """Hand it to a process of its own, and wait until it is ready."""
    module = [sys.executable, "-m", "deepseek_operator.local", str(place.directory)]
    with place.supervisor_log.open("ab") as log:
        process = subprocess.Popen(
            [*module, str(lock), str(listening.fileno())],
            pass_fds=(lock, listening.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    listening.close()
    hint = f"deepseek local down {place.name} ends it."
    try:
        with Watch(hint=hint) as watch:
            while not watch.settled and process.poll() is None:
                time.sleep(LOOK_SECONDS)
                if view := place.view():
                    watch(view)
    except KeyboardInterrupt:
        warn(f"Bringing {place.name} down.")
        ask_to_end(place)
        process.wait()
        raise
    if not watch.ready:
        process.wait()
        said = "".join(f"\n  {line}" for line in tail(place.supervisor_log, 5))
        raise FailedError(f"{_failed(place.name)}{said}")


def _failed(name: str) -> str:
    return (
        f"No replica of {name} runs any more; what was wrong is said above. "
        f"deepseek local logs {name} has all of it."
    )
