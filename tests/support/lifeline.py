"""Processes that end with the test run, however that ends."""

from __future__ import annotations

import ctypes
import signal
import sys

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """In a child, before its program starts: let the kernel end it with the process that began it.

    For `preexec_fn`. Elsewhere than on Linux a test run that is killed leaves its processes behind.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
