"""A wrapper that runs a command which the kernel kills with its parent.

Usage: `exec_with_parent_death PARENT COMMAND...`. Only Linux supports this; elsewhere the next command kills
the orphans (orphans.py).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Replace this process by the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        # SIGKILL: client connections end with the parent, so there is nothing to drain.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # the parent exited before prctl
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
