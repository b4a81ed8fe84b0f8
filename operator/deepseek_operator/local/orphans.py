"""Orphaned processes and containers of a run, identified by their mark so that no others are killed."""

import subprocess
from collections.abc import Iterator

import psutil

from deepseek_operator.local.commands import LABEL, MARK, mark

KILL_SECONDS = 5.0
CONTAINER_SECONDS = 30.0


def processes(run: str, index: int | None = None) -> list[psutil.Process]:
    """Return the processes of a run, or of one of its replicas, including their descendants.

    Args:
        run: ID of the run.
        index: Index of the replica; None: all replicas.
    """
    return [process for process in psutil.process_iter() if _carries(process, run, index)]


def _carries(process: psutil.Process, run: str, index: int | None) -> bool:
    try:
        carried = str(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):  # another user's process, or gone
        return False
    return carried == mark(run, index) if index is not None else carried.startswith(f"{run}/")


def end(run: str, index: int | None = None, engine: str = "") -> int:
    """Kill the remaining processes and containers of a run, or of one replica, and wait for their exit.

    Args:
        run: ID of the run.
        index: Index of the replica; None: all replicas.
        engine: docker or podman, if servers ran in containers.

    Returns:
        Number of processes and containers found.
    """
    found = processes(run, index)
    for process in found:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, KILL_SECONDS)
    containers = list(_containers(run, index, engine)) if engine else []
    if containers:
        _engine(engine, "rm", "--force", *containers)
    return len(found) + len(containers)


def _containers(run: str, index: int | None, engine: str) -> Iterator[str]:
    shown = _engine(engine, "ps", "--all", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}')
    for line in shown.splitlines():
        identity, _, carried = line.partition(" ")
        if carried == mark(run, index or 0) or (index is None and carried.startswith(f"{run}/")):
            yield identity


def _engine(*command: str) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=CONTAINER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout
