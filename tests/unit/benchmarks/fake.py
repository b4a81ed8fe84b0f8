"""Helpers for tests: the command of the fake server, and a check for a running process."""

import os
import sys
from pathlib import Path

FAKE = (sys.executable, str(Path(__file__).with_name("fake_server.py")), "{port}")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
