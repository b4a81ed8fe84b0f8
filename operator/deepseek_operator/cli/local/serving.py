"""Running a launch plan: in this process until Ctrl-C, or in a detached supervisor."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time

from deepseek_operator.cli.errors import CommandError, FailedError
from deepseek_operator.cli.local.known import clean, request_stop
from deepseek_operator.cli.local.listening import listen
from deepseek_operator.cli.local.watch import Watch
from deepseek_operator.cli.output import warn
from deepseek_operator.local import restarts
from deepseek_operator.local.launch_plan import LaunchPlan
from deepseek_operator.local.state_dir import StateDir, tail
from deepseek_operator.local.supervisor import Supervisor

LOOK_SECONDS = 0.3


def serve(launch_plan: LaunchPlan, host: str, port: int, detach: bool) -> None:
    """Run a launch plan.

    Args:
        launch_plan: The launch plan.
        host: Address of the endpoint.
        port: Port of the endpoint; 0: any free port.
        detach: Run in a process of its own, and return once it is ready.

    Raises:
        CommandError: The resource is already running, or the port is in use.
        FailedError: All replicas have failed.
    """
    state_dir = StateDir.of(launch_plan.name)
    lock = state_dir.lock()
    if lock is None:
        view = state_dir.view()
        where = f" at {view.endpoint}/v1" if view else ""
        raise CommandError(
            f"{launch_plan.name} is already running{where}: stop it with deepseek local down "
            f"{launch_plan.name}, or give the resource another name."
        )
    try:
        listening = _listen(state_dir, host, port)
        clean(state_dir)
        state_dir.clear()
        launch_plan = launch_plan.model_copy(update={"run": secrets.token_hex(8)})
        state_dir.write_launch_plan(launch_plan)
        count = len(launch_plan.replicas)
        warn(
            f"Starting {count} replica{'s' * (count > 1)} of {launch_plan.model_id}, "
            f"{'each ' * (count > 1)}on {launch_plan.runs_on}, from {launch_plan.source}. {restarts.POLICY}"
        )
        if detach:
            _detached(state_dir, lock, listening)
        else:
            _attached(launch_plan, state_dir, listening)
    finally:
        os.close(lock)


def _listen(state_dir: StateDir, host: str, port: int) -> socket.socket:
    """Open the listening socket; on failure remove the state directory of a resource that never ran.

    Raises:
        CommandError: The port is in use.
    """
    try:
        return listen(host, port)
    except CommandError:
        if state_dir.launch_plan() is None:
            state_dir.remove()
        raise


def _attached(launch_plan: LaunchPlan, state_dir: StateDir, listening: socket.socket) -> None:
    with Watch(hint="Stop with Ctrl-C.") as watch:
        as_asked = asyncio.run(_run(launch_plan, state_dir, listening, watch))
    if not as_asked:
        raise FailedError(_failed(launch_plan.name))
    warn("Stopped.")


async def _run(
    launch_plan: LaunchPlan, state_dir: StateDir, listening: socket.socket, watch: Watch
) -> bool:
    return await Supervisor(launch_plan, state_dir, listening, watch).run()


def _detached(state_dir: StateDir, lock: int, listening: socket.socket) -> None:
    """Start a detached supervisor and wait until all replicas are ready."""
    module = [sys.executable, "-m", "deepseek_operator.local", str(state_dir.directory)]
    with state_dir.supervisor_log.open("ab") as log:
        process = subprocess.Popen(
            [*module, str(lock), str(listening.fileno())],
            pass_fds=(lock, listening.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    listening.close()
    hint = f"Stop with deepseek local down {state_dir.name}."
    try:
        with Watch(hint=hint) as watch:
            while not watch.settled and process.poll() is None:
                time.sleep(LOOK_SECONDS)
                if view := state_dir.view():
                    watch(view)
    except KeyboardInterrupt:
        warn(f"Stopping {state_dir.name}.")
        request_stop(state_dir)
        process.wait()
        raise
    if not watch.ready:
        process.wait()
        log_lines = "".join(f"\n  {line}" for line in tail(state_dir.supervisor_log, 5))
        raise FailedError(f"{_failed(state_dir.name)}{log_lines}")


def _failed(name: str) -> str:
    return (
        f"All replicas of {name} have failed; the causes are shown above. "
        f"Full logs: deepseek local logs {name}."
    )
