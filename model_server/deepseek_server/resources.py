"""Memory and CPUs available to this process within the container's limits.

A container sees the memory and cores of the whole machine; its limits are in the files of its cgroup
(version 2, or version 1 on older nodes). Without limits the numbers of the machine apply.
"""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def memory_available() -> int:
    """Return the bytes that this process can still allocate: free memory, or less under a limit."""
    available = _kilobytes(PROC / "meminfo", "MemAvailable:")
    for file in (CGROUP / "memory.max", CGROUP / "memory" / "memory.limit_in_bytes"):
        limit = _read(file)
        if limit.isdigit():  # version 2 has "max" for no limit
            available = min(available, int(limit) - _kilobytes(PROC / "self/status", "VmRSS:"))
    return max(available, 0)


def cpus() -> int:
    """Return the number of CPUs that this process may use, at least one."""
    count = len(os.sched_getaffinity(0))
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if not quota:
        quota = _read(CGROUP / "cpu" / "cpu.cfs_quota_us")
        period = _read(CGROUP / "cpu" / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(quota) > 0:
        count = min(count, math.ceil(int(quota) / int(period)))
    return max(count, 1)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _kilobytes(path: Path, key: str) -> int:
    """Return the value of a `Key:  123 kB` line in bytes."""
    for line in _read(path).splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
