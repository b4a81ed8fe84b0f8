"""Running a launch plan: in this process until Ctrl-C, or in a detached supervisor."""

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
    """Run a launch plan.

    Args:
        arrangement: The launch plan.
        host: Address of the endpoint.
        port: Port of the endpoint; 0: any free port.
        detach: Run in a process of its own, and return once it is ready.

    Raises:
        CommandError: The resource is already running, or the port is in use.
        FailedError: All replicas have failed.
    """
    place = Place.of(arrangement.name)
    lock = place.lock()
    if lock is None:
        view = place.view()
        where = f" at {view.endpoint}/v1" if view else ""
        raise CommandError(
            f"{arrangement.name} is already running{where}: stop it with deepseek local down "
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
    """Open the listening socket; on failure remove the state directory of a resource that never ran.

    Raises:
        CommandError: The port is in use.
    """
    try:
        return listen(host, port)
    except CommandError:
        if place.arrangement() is None:
            place.remove()
        raise


def _attached(arrangement: Arrangement, place: Place, listening: socket.socket) -> None:
    with Watch(hint="Stop with Ctrl-C.") as watch:
        as_asked = asyncio.run(_run(arrangement, place, listening, watch))
    if not as_asked:
        raise FailedError(_failed(arrangement.name))
    warn("Stopped.")


async def _run(
    arrangement: Arrangement, place: Place, listening: socket.socket, watch: Watch
) -> bool:
    return await Supervisor(arrangement, place, listening, watch).run()


def _detached(place: Place, lock: int, listening: socket.socket) -> None:
    """Start a detached supervisor and wait until all replicas are ready."""
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
    hint = f"Stop with deepseek local down {place.name}."
    try:
        with Watch(hint=hint) as watch:
            while not watch.settled and process.poll() is None:
                time.sleep(LOOK_SECONDS)
                if view := place.view():
                    watch(view)
    except KeyboardInterrupt:
        warn(f"Stopping {place.name}.")
        ask_to_end(place)
        process.wait()
        raise
    if not watch.ready:
        process.wait()
        said = "".join(f"\n  {line}" for line in tail(place.supervisor_log, 5))
        raise FailedError(f"{_failed(place.name)}{said}")


def _failed(name: str) -> str:
    return (
        f"All replicas of {name} have failed; the causes are shown above. "
        f"Full logs: deepseek local logs {name}."
    )
