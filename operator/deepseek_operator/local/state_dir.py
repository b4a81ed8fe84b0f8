"""Where it is kept what runs here: a directory for each resource, and a lock that ends with its owner."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import platformdirs
from pydantic import BaseModel, ValidationError

from deepseek_operator.local.launch_plan import Arrangement
from deepseek_operator.local.view import View

Kept = TypeVar("Kept", bound=BaseModel)

# A log that is larger is cut: what it has becomes .1, and what was .1 goes.
LOG_BYTES = 32 * 2**20
ARRANGEMENT = "arrangement.json"


def root() -> Path:
    """Of all directories; below the user's directory for states (XDG_STATE_HOME on Linux)."""
    return platformdirs.user_state_path("deepseek", appauthor=False) / "local"


@dataclass(frozen=True)
class Place:
    """The directory of a resource."""

    directory: Path

    @classmethod
    def of(cls, name: str) -> "Place":
        """That of a resource, whether there is one or not."""
        return cls(root() / name)

    @classmethod
    def every(cls) -> Iterator["Place"]:
        """Those of all resources that were ever up and have not been brought down since."""
        if root().is_dir():
            found = (cls(path) for path in sorted(root().iterdir()))
            yield from (place for place in found if (place.directory / ARRANGEMENT).exists())

    @property
    def name(self) -> str:
        """Of the resource."""
        return self.directory.name

    @property
    def supervisor_log(self) -> Path:
        """What the process says that looks after servers without a terminal."""
        return self.directory / "supervisor.log"

    def log(self, index: int) -> Path:
        """What a server says."""
        return self.directory / f"replica-{index}.log"

    def logs(self) -> dict[int, Path]:
        """All logs that there are, by the number of the replica."""
        found = self.directory.glob("replica-*.log")
        return dict(sorted((int(path.stem.partition("-")[2]), path) for path in found))

    def config(self, index: int) -> Path:
        """The config file of a server."""
        return self.directory / f"replica-{index}.json"

    def last_words(self, index: int) -> Path:
        """Where a server leaves why it can't start."""
        return self.directory / f"replica-{index}.last-words"

    def lock(self) -> int | None:
        """Take the lock: an open file, with which it is given back; None where somebody has it.

        Whoever inherits the file has the lock, and the kernel takes it from those that end.
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
            os.close(opened)  # somebody removed it between both

    @property
    def locked(self) -> bool:
        """Whether somebody looks after the servers now."""
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

    def write_arrangement(self, arrangement: Arrangement) -> None:
        """Keep what is to run, before any of it does."""
        self.write(ARRANGEMENT, arrangement.model_dump_json(indent=2))

    def arrangement(self) -> Arrangement | None:
        """What runs or ran; None where nothing did."""
        return self._read(ARRANGEMENT, Arrangement)

    def write_view(self, view: View) -> None:
        """Keep how far it is."""
        self.write("state.json", view.model_dump_json(by_alias=True, indent=2))

    def view(self) -> View | None:
        """How far it is, or was when somebody last said it."""
        return self._read("state.json", View)

    def write(self, name: str, text: str) -> None:
        """Write a file so that nobody reads half of it."""
        path = self.directory / name
        beside = path.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)

    def _read(self, name: str, kind: type[Kept]) -> Kept | None:
        try:
            return kind.model_validate_json((self.directory / name).read_bytes())
        except (OSError, ValidationError):
            return None

    def clear(self) -> None:
        """Forget what an earlier run has left, its logs too; the lock stays who has it."""
        for path in self.directory.iterdir():
            if path.name != "lock":
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget all of it; by who has the lock."""
        self.clear()
        (self.directory / "lock").unlink(missing_ok=True)
        self.directory.rmdir()


def cut(log: Path) -> None:
    """Keep a log that is written all the time from growing for ever; lines of a moment may be lost."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.with_suffix(".log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)


def tail(log: Path, lines: int, most: int = 65536) -> list[str]:
    """The last lines of a file, none where there is no file.

    Args:
        log: The file.
        lines: How many at most.
        most: Bytes that are read for that.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - most, 0))
            found = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return found[-lines:] if lines else []
