"""`python -m hack.workflows`: check .github/workflows with actionlint, built from its pinned module."""

import subprocess
import sys
from pathlib import Path

from hack.cluster.faults import ClusterError
from hack.cluster.toolchain import build

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run actionlint.

    Returns:
        Its exit status, or 2 when it can't be built.
    """
    try:
        program = build(["actionlint"])["actionlint"] / "bin/actionlint"
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Without the checkers that it finds on PATH: each machine has other ones, or none.
    command = [str(program), "-shellcheck=", "-pyflakes="]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
