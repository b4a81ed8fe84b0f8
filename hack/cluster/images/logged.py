"""Long-running commands: one line on screen, and their output in a log."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.cluster.faults import ClusterError
from hack.cluster.progress import step

TAIL_LINES = 20


def run_logged(
    title: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command with visible progress and append its output to a log file.

    Args:
        title: Text that is shown while it runs.
        command: Program and arguments.
        log: The log file; its folder is created.
        environment: Variables in addition to those of this process.

    Raises:
        ClusterError: the command is not installed or failed; contains the end of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink, step(title):
        sink.write(f"\n==> {title}\n".encode())
        sink.flush()
        begin = sink.tell()
        try:
            subprocess.run(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=True,
            )
        except FileNotFoundError as error:
            raise ClusterError(f"{title}: {command[0]} is not installed") from error
        except subprocess.CalledProcessError as error:
            lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
            raise ClusterError(
                f"{title}: {command[0]} failed (complete log: {log})\n"
                + "\n".join(lines[-TAIL_LINES:])
            ) from error
