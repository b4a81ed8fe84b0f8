"""What the NVIDIA driver told the kernel of a GPU that failed: an Xid line.

https://docs.nvidia.com/deploy/xid-errors/ lists the numbers. A container may rarely read the
kernel's log, so this is an addition where it can be had.
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
    """The last Xid line in the kernel's log; empty where there is none, or none can be read."""
    lines: list[str] = []
    try:
        log = os.open(_KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        with contextlib.suppress(OSError):  # it says EAGAIN at its end
            while record := os.read(log, _RECORD_BYTES):
                lines.append(record.decode(errors="replace"))
    finally:
        os.close(log)
    return last_xid(lines)


def last_xid(lines: Iterable[str]) -> str:
    """The last Xid in lines of the kernel's log, without what stands before it."""
    found = ""
    for line in lines:
        if match := _XID.search(line):
            found = match[1].strip()
    return found
