"""The programs of an embedded cluster as processes of the host: to measure, stop and kill them."""

from __future__ import annotations

import os
from pathlib import Path

from hack.cluster.faults import ClusterError

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def pid_of(state: Path, program: str) -> int:
    """Return the process id of a program of the cluster whose state directory is `state`.

    Raises:
        ClusterError: The program is not running.
    """
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        # Other clusters on this machine run the same programs with other files.
        if Path(command[0]).name == program and f"{state}/" in "\0".join(command):
            return int(process.name)
    raise ClusterError(f"{program} of the cluster in {state} is not running")


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
