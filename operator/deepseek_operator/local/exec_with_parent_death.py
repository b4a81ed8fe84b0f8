"""Runs a command that ends with the process that started it, however that ends: `leash PARENT COMMAND...`.

Only Linux can do that; elsewhere what is left over is found by the next command (leftovers.py).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        # SIGKILL: the clients went with the parent, so there is nothing to drain.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before that
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
