"""Processes and containers of a run, found by the mark that they carry: nobody else's is ever touched."""

import subprocess
from collections.abc import Iterator

import psutil

from deepseek_operator.local.commands import LABEL, MARK, mark

KILL_SECONDS = 5.0
CONTAINER_SECONDS = 30.0


def processes(run: str, index: int | None = None) -> list[psutil.Process]:
    """The processes of a run, or of one of its replicas, whoever started them.

    Args:
        run: Its name.
        index: Of the replica; None: of all.
    """
    return [process for process in psutil.process_iter() if _carries(process, run, index)]


def _carries(process: psutil.Process, run: str, index: int | None) -> bool:
    try:
        carried = str(process.environ().get(MARK, ""))
    except (psutil.Error, OSError):  # somebody else's, or gone
        return False
    return carried == mark(run, index) if index is not None else carried.startswith(f"{run}/")


def end(run: str, index: int | None = None, engine: str = "") -> int:
    """End what is left of a run, or of one of its replicas, and wait for that.

    Args:
        run: Its name.
        index: Of the replica; None: of all.
        engine: docker or podman, where servers ran in containers.

    Returns:
        How many processes and containers there were.
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
