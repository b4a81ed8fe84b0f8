"""State on disk: a directory per resource, with a lock that the kernel releases with its owner."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import platformdirs
from pydantic import BaseModel, ValidationError

from deepseek_operator.local.launch_plan import LaunchPlan
from deepseek_operator.local.view import View

Model = TypeVar("Model", bound=BaseModel)

# A larger log is rotated to .1, replacing the previous .1.
LOG_BYTES = 32 * 2**20
LAUNCH_PLAN = "launch-plan.json"


def root() -> Path:
    """Return the parent of all state directories, in the user's state directory (XDG_STATE_HOME on Linux)."""
    return platformdirs.user_state_path("deepseek", appauthor=False) / "local"


@dataclass(frozen=True)
class StateDir:
    """The state directory of a resource."""

    directory: Path

    @classmethod
    def of(cls, name: str) -> "StateDir":
        """Return the state directory of a resource; it need not exist."""
        return cls(root() / name)

    @classmethod
    def every(cls) -> Iterator["StateDir"]:
        """Yield the state directories of all resources that were started and not removed since."""
        if root().is_dir():
            found = (cls(path) for path in sorted(root().iterdir()))
            yield from (
                state_dir for state_dir in found if (state_dir.directory / LAUNCH_PLAN).exists()
            )

    @property
    def name(self) -> str:
        """Name of the resource."""
        return self.directory.name

    @property
    def supervisor_log(self) -> Path:
        """Log file of the detached supervisor."""
        return self.directory / "supervisor.log"

    def log(self, index: int) -> Path:
        """Return the log file of a replica."""
        return self.directory / f"replica-{index}.log"

    def logs(self) -> dict[int, Path]:
        """Return the existing log files by replica index."""
        found = self.directory.glob("replica-*.log")
        return dict(sorted((int(path.stem.partition("-")[2]), path) for path in found))

    def config(self, index: int) -> Path:
        """Return the config file of a replica."""
        return self.directory / f"replica-{index}.json"

    def last_words(self, index: int) -> Path:
        """Return the file in which a replica reports why it can't start."""
        return self.directory / f"replica-{index}.last-words"

    def lock(self) -> int | None:
        """Acquire the lock.

        A process that inherits the file descriptor holds the lock too; the kernel releases it when
        the last holder exits.

        Returns:
            An open file descriptor; closing it releases the lock. None if the lock is held.
        """
        path = self.directory / "lock"
        while True:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists() and os.fstat(opened).st_ino == path.stat().st_ino:
                    return opened
            except OSError:
                os.close(opened)
                return None
            os.close(opened)  # the file was removed between open and flock

    @property
    def locked(self) -> bool:
        """True while a supervisor or another command holds the lock."""
        try:
            opened = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(opened)
        return False

    def write_launch_plan(self, launch_plan: LaunchPlan) -> None:
        """Store the launch plan, before anything is started."""
        self.write(LAUNCH_PLAN, launch_plan.model_dump_json(indent=2))

    def launch_plan(self) -> LaunchPlan | None:
        """Return the stored launch plan; None if there is none."""
        return self._read(LAUNCH_PLAN, LaunchPlan)

    def write_view(self, view: View) -> None:
        """Store the status."""
        self.write("state.json", view.model_dump_json(by_alias=True, indent=2))

    def view(self) -> View | None:
        """Return the last stored status; None if there is none."""
        return self._read("state.json", View)

    def write(self, name: str, text: str) -> None:
        """Write a file atomically."""
        path = self.directory / name
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    def _read(self, name: str, kind: type[Model]) -> Model | None:
        try:
            return kind.model_validate_json((self.directory / name).read_bytes())
        except (OSError, ValidationError):
            return None

    def clear(self) -> None:
        """Delete the files of an earlier run, including logs, but keep the lock."""
        for path in self.directory.iterdir():
            if path.name != "lock":
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the state directory; the caller must hold the lock."""
        self.clear()
        (self.directory / "lock").unlink(missing_ok=True)
        self.directory.rmdir()


def cut(log: Path) -> None:
    """Rotate a log that has grown too large; lines written during the copy may be lost."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.with_suffix(".log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)


def tail(log: Path, lines: int, most: int = 65536) -> list[str]:
    """Return the last lines of a file; empty if it does not exist.

    Args:
        log: The file.
        lines: Maximum number of lines.
        most: Maximum number of bytes to read.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - most, 0))
            found = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return found[-lines:] if lines else []
