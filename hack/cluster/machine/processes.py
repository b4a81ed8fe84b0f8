"""The programs of an embedded cluster as the host sees them: to measure, to stop, to kill."""

from __future__ import annotations

import os
from pathlib import Path

from hack.cluster.faults import ClusterError

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def pid_of(state: Path, program: str) -> int:
    """The process of a program of the cluster whose state directory is `state`.

    Raises:
        ClusterError: It does not run.
    """
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        # Clusters beside this one run the same programs with other files.
        if Path(command[0]).name == program and f"{state}/" in "\0".join(command):
            return int(process.name)
    raise ClusterError(f"{program} of the cluster in {state} does not run")


def memory(pid: int) -> int:
    """Bytes of memory that a process holds (resident set)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
