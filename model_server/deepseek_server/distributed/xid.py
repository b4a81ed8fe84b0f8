"""Xid errors: messages of the NVIDIA driver in the kernel log about a failed GPU.

https://docs.nvidia.com/deploy/xid-errors/ lists the numbers. Containers can rarely read the kernel
log, so this is optional information.
"""

import contextlib
import os
import re
from collections.abc import Iterable

_KERNEL_LOG = "/dev/kmsg"
_RECORD_BYTES = 8192
# A record of /dev/kmsg: `3,1234,5678901,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=12, name=x, GPU has ...`
_XID = re.compile(r"NVRM: (Xid \([^)]*\): \d+.*)")


def latest() -> str:
    """Return the last Xid in the kernel log; empty if there is none or the log is unreadable."""
    lines: list[str] = []
    try:
        log = os.open(_KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        with contextlib.suppress(OSError):  # EAGAIN at the end of the log
            while record := os.read(log, _RECORD_BYTES):
                lines.append(record.decode(errors="replace"))
    finally:
        os.close(log)
    return last_xid(lines)


def last_xid(lines: Iterable[str]) -> str:
    """Return the last Xid in lines of the kernel log, without the prefix of its line."""
    found = ""
    for line in lines:
        if match := _XID.search(line):
            found = match[1].strip()
    return found
