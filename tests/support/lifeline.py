"""Child processes that end with the test run, even if it is killed."""

from __future__ import annotations

import ctypes
import signal
import sys

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Make the kernel kill this process when its parent ends; for `preexec_fn`.

    On other systems than Linux a killed test run leaves its processes behind.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
