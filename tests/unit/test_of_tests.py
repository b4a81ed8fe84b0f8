"""The project's test settings: failing helper threads, and the reversed order of tests."""

import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

A_THREAD_DIES = """
import threading

def test_of_something_else() -> None:
    def work() -> None:
        raise ValueError("the helper's own error")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""
TWO = """
def test_first() -> None: ...
def test_second() -> None: ...
"""


def run(directory: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a file of tests with the project's settings."""
    file = directory / "test_made.py"
    file.write_text(text)
    settings = ("-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}", "-p", "tests.conftest")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *settings, *options, str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )


def test_a_helper_thread_that_dies_fails_its_test_with_its_own_error(tmp_path: Path) -> None:
    done = run(tmp_path, A_THREAD_DIES)
    assert done.returncode == 1
    assert "ValueError: the helper's own error" in done.stdout


def test_the_order_can_be_reversed(tmp_path: Path) -> None:
    listed = run(tmp_path, TWO, "--reversed", "--verbose").stdout
    assert listed.index("test_second PASSED") < listed.index("test_first PASSED")
