"""A server as a process of this machine: started, asked how far it is, ended with all that it started."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from deepseek_operator.local import orphans as leftovers
from deepseek_operator.local.commands import LOOPBACK, Files, command, config_text
from deepseek_operator.local.launch_plan import Arrangement, Replica
from deepseek_operator.local.probing import hub_home, oom_kills
from deepseek_operator.local.restarts import in_words
from deepseek_operator.local.state_dir import Place, tail

ANSWER_BYTES = 65536
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
LAST_LINES = 8


@dataclass(frozen=True)
class Health:
    """What a server answers.

    Attributes:
        status: Its word for what it does, such as loading, ready, draining, failed, dead.
        detail: The same as a sentence.
        loaded_bytes: Of its present step.
        total_bytes: Of that; 0 while it does not know.
        seconds_left: Of that; None while it does not know.
    """

    status: str
    detail: str = ""
    loaded_bytes: int = 0
    total_bytes: int = 0
    seconds_left: int | None = None

    @classmethod
    def of(cls, answer: Any) -> "Health | None":
        """What an answer to /health/ready says, None where it is no such answer."""
        if not isinstance(answer, Mapping) or not isinstance(answer.get("status"), str):
            return None
        loaded, total = (_number(answer.get(name)) or 0 for name in ("loadedBytes", "totalBytes"))
        left = _number(answer.get("secondsLeft"))
        return cls(answer["status"], str(answer.get("detail") or ""), loaded, total, left)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


@dataclass(frozen=True)
class End:
    """How a server ended.

    Attributes:
        code: Its exit code, negative for a signal.
        words: How, as the second half of a sentence.
        last_words: What it has left as the reason, empty where nothing.
        log: Its last lines.
    """

    code: int
    words: str
    last_words: str = ""
    log: tuple[str, ...] = ()


class Server(Protocol):
    """A server that was started."""

    @property
    def port(self) -> int:
        """Where it listens, on the loopback."""

    @property
    def pid(self) -> int:
        """Of its first process."""

    async def exited(self) -> None:
        """Wait until it does not answer any more."""

    async def ended(self) -> End:
        """Wait for its end; nothing of it is left after that."""

    async def ask(self) -> Health | None:
        """How far it is; None where it does not answer."""

    def terminate(self) -> None:
        """Ask it to drain and end."""

    def kill(self) -> None:
        """End it now."""


class ServerProcess:
    """A server in processes, or in a container, of this machine.

    Args:
        started: Its first process, or the client of its container.
        port: Where it was told to listen.
        arrangement: What it is one of.
        replica: Which one.
        place: Where its files are kept.
        session: Asks it.
    """

    def __init__(
        self,
        started: asyncio.subprocess.Process,
        port: int,
        arrangement: Arrangement,
        replica: Replica,
        place: Place,
        session: aiohttp.ClientSession,
    ) -> None:
        self._process, self.port, self.pid = started, port, started.pid
        self._arrangement, self._index, self._place = arrangement, replica.index, place
        self._session = session
        self._killed_before = oom_kills()

    async def exited(self) -> None:
        """See Server."""
        await self._process.wait()

    async def ended(self) -> End:
        """See Server."""
        code = await self._process.wait()
        # What computes would hold the memory that a successor needs.
        await asyncio.to_thread(
            leftovers.end, self._arrangement.run, self._index, self._arrangement.engine
        )
        words = "\n".join(tail(self._place.last_words(self._index), LAST_LINES)).strip()
        log = tail(self._place.log(self._index), LAST_LINES)
        return End(code, in_words(code, oom_kills() > self._killed_before), words, tuple(log))

    async def ask(self) -> Health | None:
        """See Server."""
        url = f"http://{LOOPBACK}:{self.port}/health/ready"
        try:
            async with self._session.get(url, timeout=ANSWER_TIMEOUT) as response:
                return Health.of(json.loads(await response.content.read(ANSWER_BYTES)))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    def terminate(self) -> None:
        """See Server."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """See Server."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def start(
    arrangement: Arrangement, replica: Replica, place: Place, session: aiohttp.ClientSession
) -> Server:
    """Start a server on a free port.

    Args:
        arrangement: What it is one of.
        replica: Which one.
        place: Where its files are kept.
        session: Asks it.

    Raises:
        OSError: Its files can't be written, or its program can't be started.
    """
    index, port = replica.index, free_port()
    user = (os.getuid(), os.getgid())
    files = Files(place.config(index), place.last_words(index), hub_home(), user)
    place.write(files.config.name, config_text(arrangement, port))
    files.last_words.write_text("")
    files.cache.mkdir(parents=True, exist_ok=True)
    what = command(arrangement, replica, files, port, os.environ)
    leash = (
        sys.executable,
        "-m",
        "deepseek_operator.local.exec_with_parent_death",
        str(os.getpid()),
    )
    with place.log(index).open("ab") as log:
        started = await asyncio.create_subprocess_exec(
            *leash,
            *what.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **what.env},
            start_new_session=True,  # what a terminal sends is for the supervisor
        )
    return ServerProcess(started, port, arrangement, replica, place, session)


def free_port() -> int:
    """A port of the loopback on which nobody listens at the moment."""
    with socket.create_server((LOOPBACK, 0)) as opened:
        port: int = opened.getsockname()[1]
        return port
