"""A server as a process of this machine: start, health probes, exit with cleanup of its children."""

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

from deepseek_operator.local import orphans
from deepseek_operator.local.commands import LOOPBACK, Files, command, config_text
from deepseek_operator.local.launch_plan import LaunchPlan, Replica
from deepseek_operator.local.probing import hub_home, oom_kills
from deepseek_operator.local.restarts import describe_exit
from deepseek_operator.local.state_dir import StateDir, tail

ANSWER_BYTES = 65536
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
LAST_LINES = 8


@dataclass(frozen=True)
class Health:
    """The health of a server as it reports it.

    Attributes:
        status: Its state, such as loading, ready, draining, failed, dead.
        detail: Description of the state.
        loaded_bytes: Bytes loaded in the current step.
        total_bytes: Total bytes of the step; 0 if unknown.
        seconds_left: Remaining seconds of the step; None if unknown.
    """

    status: str
    detail: str = ""
    loaded_bytes: int = 0
    total_bytes: int = 0
    seconds_left: int | None = None

    @classmethod
    def of(cls, answer: Any) -> "Health | None":
        """Parse a response of /health/ready; None if it is not one."""
        if not isinstance(answer, Mapping) or not isinstance(answer.get("status"), str):
            return None
        loaded, total = (_number(answer.get(name)) or 0 for name in ("loadedBytes", "totalBytes"))
        left = _number(answer.get("secondsLeft"))
        return cls(answer["status"], str(answer.get("detail") or ""), loaded, total, left)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


@dataclass(frozen=True)
class End:
    """The exit of a server.

    Attributes:
        code: Exit code, negative for a signal.
        words: How it exited, as a predicate.
        last_words: Cause reported by the server; empty if none.
        log: Last lines of its log.
    """

    code: int
    words: str
    last_words: str = ""
    log: tuple[str, ...] = ()


class Server(Protocol):
    """A started server."""

    @property
    def port(self) -> int:
        """Port on the loopback."""

    @property
    def pid(self) -> int:
        """PID of its first process."""

    async def exited(self) -> None:
        """Wait until its first process exits."""

    async def ended(self) -> End:
        """Wait for its exit, and clean up its remaining processes."""

    async def ask(self) -> Health | None:
        """Return its health; None if it does not respond."""

    def terminate(self) -> None:
        """Request a drain and exit."""

    def kill(self) -> None:
        """Kill it."""


class ServerProcess:
    """A server in processes, or in a container, of this machine.

    Args:
        started: Its first process, or the client of its container.
        port: Its port on the loopback.
        launch_plan: The launch plan.
        replica: The replica.
        state_dir: State directory.
        session: HTTP session for health probes.
    """

    def __init__(
        self,
        started: asyncio.subprocess.Process,
        port: int,
        launch_plan: LaunchPlan,
        replica: Replica,
        state_dir: StateDir,
        session: aiohttp.ClientSession,
    ) -> None:
        self._process, self.port, self.pid = started, port, started.pid
        self._launch_plan, self._index, self._state_dir = launch_plan, replica.index, state_dir
        self._session = session
        self._killed_before = oom_kills()

    async def exited(self) -> None:
        """See Server."""
        await self._process.wait()

    async def ended(self) -> End:
        """See Server."""
        code = await self._process.wait()
        # Orphaned engine processes would hold the memory that the next start needs.
        await asyncio.to_thread(
            orphans.end, self._launch_plan.run, self._index, self._launch_plan.engine
        )
        cause = "\n".join(tail(self._state_dir.last_words(self._index), LAST_LINES)).strip()
        log = tail(self._state_dir.log(self._index), LAST_LINES)
        return End(code, describe_exit(code, oom_kills() > self._killed_before), cause, tuple(log))

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
    launch_plan: LaunchPlan, replica: Replica, state_dir: StateDir, session: aiohttp.ClientSession
) -> Server:
    """Start a server on a free port.

    Args:
        launch_plan: The launch plan.
        replica: The replica.
        state_dir: State directory.
        session: HTTP session for health probes.

    Raises:
        OSError: Its files can't be written, or its program can't be started.
    """
    index, port = replica.index, free_port()
    user = (os.getuid(), os.getgid())
    files = Files(state_dir.config(index), state_dir.last_words(index), hub_home(), user)
    state_dir.write(files.config.name, config_text(launch_plan, port))
    files.last_words.write_text("")
    files.cache.mkdir(parents=True, exist_ok=True)
    what = command(launch_plan, replica, files, port, os.environ)
    exec_with_parent_death = (
        sys.executable,
        "-m",
        "deepseek_operator.local.exec_with_parent_death",
        str(os.getpid()),
    )
    with state_dir.log(index).open("ab") as log:
        started = await asyncio.create_subprocess_exec(
            *exec_with_parent_death,
            *what.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **what.env},
            start_new_session=True,  # signals of the terminal go only to the supervisor
        )
    return ServerProcess(started, port, launch_plan, replica, state_dir, session)


def free_port() -> int:
    """Return a loopback port that is currently free."""
    with socket.create_server((LOOPBACK, 0)) as opened:
        port: int = opened.getsockname()[1]
        return port
