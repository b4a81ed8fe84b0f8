"""CPU time of a server and its descendant processes.

On a shared machine, wall-clock time is unreliable; the CPU time of the server itself hardly depends
on how often it was interrupted.
"""

import os
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
# Indices of fields in /proc/PID/stat after the name, which may contain spaces; proc_pid_stat(5).
_PARENT, _USER, _SYSTEM = 1, 11, 12


def of_tree(root: int) -> float:
    """Return the CPU seconds of a process and its living descendants."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for file in PROC.glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has exited
        pid = int(file.parent.name)
        ticks[pid] = int(fields[_USER]) + int(fields[_SYSTEM])
        children[int(fields[_PARENT])].append(pid)
    tree = [root]
    for pid in tree:
        tree += children[pid]
    return sum(ticks.get(pid, 0) for pid in tree) / os.sysconf("SC_CLK_TCK")
