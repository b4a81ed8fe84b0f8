"""CPU time of a server and all that it started.

On a machine that others use too, time on the wall says little; the CPU time that the server itself
took is nearly the same however often it was interrupted.
"""

import os
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
# Places in /proc/PID/stat after the name, which may hold spaces; proc_pid_stat(5).
_PARENT, _USER, _SYSTEM = 1, 11, 12


def of_tree(root: int) -> float:
    """Seconds of CPU time that a process and its living descendants have taken."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for file in PROC.glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        pid = int(file.parent.name)
        ticks[pid] = int(fields[_USER]) + int(fields[_SYSTEM])
        children[int(fields[_PARENT])].append(pid)
    tree = [root]
    for pid in tree:
        tree += children[pid]
    return sum(ticks.get(pid, 0) for pid in tree) / os.sysconf("SC_CLK_TCK")
