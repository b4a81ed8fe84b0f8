"""A program that receives SIGTERM during its imports ends at once, with exit code 0.

The kernel ignores signals without a handler for the first process of a container, which would
otherwise run for the whole grace period of its pod.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

IMPORTING = """
import pathlib, time
pathlib.Path({marker!r}).touch()
time.sleep(60)
"""
SOON = 30.0


@pytest.mark.parametrize(
    ("program", "library"), [("deepseek_server", "uvicorn"), ("deepseek_operator", "kopf")]
)
def test_sigterm_during_imports_ends_the_program(
    program: str, library: str, tmp_path: Path
) -> None:
    marker = tmp_path / "importing"
    (tmp_path / f"{library}.py").write_text(IMPORTING.format(marker=str(marker)))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    }
    process = subprocess.Popen([sys.executable, "-m", program], env=environment)
    try:
        deadline = time.monotonic() + SOON
        while not marker.exists():
            assert process.poll() is None, "it has not imported what it needs"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0
    finally:
        process.kill()
        process.wait()
