"""`deepseek local logs`: the logs of servers."""

import time
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from deepseek_operator.cli.errors import CommandError
from deepseek_operator.cli.local.known import state_dir_of
from deepseek_operator.cli.output import write
from deepseek_operator.local.state_dir import StateDir, tail

LOOK_SECONDS = 0.2


def logs(
    name: Annotated[
        str | None, typer.Argument(help="Name of the resource. Default: the only one.")
    ] = None,
    replica: Annotated[int | None, typer.Option(min=0, help="Show only this replica.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until it stops.")] = False,
    lines: Annotated[int, typer.Option(min=0, help="Number of last lines to show.")] = 100,
) -> None:
    """Print the logs of a resource's servers."""
    state_dir = state_dir_of(name)
    files = state_dir.logs()
    if replica is not None:
        if replica not in files:
            there = ", ".join(map(str, files)) or "none"
            raise CommandError(
                f"{state_dir.name} has no log of replica {replica}; available: {there}."
            )
        files = {replica: files[replica]}
    ends = {index: file.stat().st_size for index, file in files.items()}
    for index, file in files.items():
        for line in tail(file, lines, most=ends[index]):
            write(f"{_before(index, files)}{line}\n")
    if follow:
        _follow(state_dir, files, ends)


def _before(index: int, files: dict[int, Path]) -> str:
    return f"[{index}] " if len(files) > 1 else ""


def _follow(state_dir: StateDir, files: dict[int, Path], ends: dict[int, int]) -> None:
    """Print added lines until the supervisor exits."""
    opened = {index: file.open("rb") for index, file in files.items()}
    for index, file in opened.items():
        file.seek(ends[index])
    try:
        going_on = True
        while going_on:
            going_on = (
                state_dir.locked
            )  # checked before reading, so that the last lines are not missed
            for index, file in opened.items():
                for line in _added(file):
                    write(f"{_before(index, files)}{line}")
            time.sleep(LOOK_SECONDS if going_on else 0)
    except KeyboardInterrupt:
        return
    finally:
        for file in opened.values():
            file.close()


def _added(file: BinaryIO) -> list[str]:
    """Return the complete lines that were added; start over if the file was truncated."""
    at = file.tell()
    if file.seek(0, 2) < at:
        at = 0
    file.seek(at)
    found = []
    while (line := file.readline()).endswith(b"\n"):
        found.append(line.decode(errors="replace"))
        at = file.tell()
    file.seek(at)
    return found
