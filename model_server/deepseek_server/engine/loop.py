"""The main loop of the engine's processes: receive commands, run steps, send reports.

If several processes compute one model, each has its own engine and all of them do the same: rank 0
broadcasts the commands that it has received from the server before each step, so all engines make the
same decisions.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from deepseek_server.engine.core import Core, DeviceLostError
from deepseek_server.engine.ipc import Cancel, Close, Command, Failure, Lost, Report, Result
from deepseek_server.engine.types import EngineError, Request, Totals

log = logging.getLogger(__name__)

TOTALS_SECONDS = 0.25

Broadcast = Callable[[Any], Any]


def _identity(value: Any) -> Any:
    return value


def serve(core: Core, connection: Connection, broadcast: Broadcast = _identity) -> str:
    """Serve a server's requests until it closes or ends, or the engine cannot continue.

    Args:
        core: the engine.
        connection: the connection to the server.
        broadcast: broadcasts a value to the other processes and returns it.

    Returns:
        Why the engine cannot continue, which the server has received; empty if it ended otherwise.
    """
    inbox, totals = _Inbox(core, connection), _Totals(core)
    try:
        while True:
            commands = broadcast(inbox.next())
            results = _execute(core, commands)
            if results is None:
                return ""
            connection.send(Report(results, core.load, totals.due()))
    except DeviceLostError as error:
        log.exception("the engine cannot continue")
        connection.send(Lost(str(error)))
        return str(error)
    except OSError:
        log.info("the server has ended")
        with contextlib.suppress(OSError):  # the other processes have ended too
            broadcast([Close(lost=True)])
    return ""


def follow(core: Core, broadcast: Broadcast) -> Close:
    """Run the same steps as rank 0 until it ends.

    Args:
        core: the engine.
        broadcast: returns the value that rank 0 broadcasts.

    Returns:
        The command to end.

    Raises:
        DeviceLostError: no later step can succeed in this process.
    """
    while True:
        commands = broadcast(None)
        if _execute(core, commands) is None:
            return next(command for command in commands if isinstance(command, Close))


class _Totals:
    """Rate limit for sending the engine's totals, which are larger than the tokens of a step."""

    def __init__(self, core: Core) -> None:
        self._core, self._reported_at = core, 0.0

    def due(self) -> Totals | None:
        """Return the totals if they are due: after an interval, or before the engine becomes idle."""
        now = time.monotonic()
        if now - self._reported_at < TOTALS_SECONDS and not self._core.idle:
            return None
        self._reported_at = now
        return self._core.totals


class _Inbox:
    """The commands from the server."""

    def __init__(self, core: Core, connection: Connection) -> None:
        self._core, self._connection = core, connection

    def next(self) -> list[Command]:
        """Return the commands that have arrived; wait for one if the engine is idle."""
        commands: list[Command] = []
        try:
            if self._core.idle:
                commands.append(self._connection.recv())
            while self._connection.poll():
                commands.append(self._connection.recv())
        except (EOFError, OSError):
            log.info("the server has ended")
            commands.append(Close(lost=True))
        return commands


def _execute(core: Core, commands: list[Command]) -> list[Result] | None:
    """Execute commands and run a step.

    Returns:
        The results; None to end.
    """
    results: list[Result] = []
    for command in commands:
        match command:
            case Request():
                try:
                    core.add(command)
                except EngineError as error:
                    results.append(Failure(command.id, str(error)))
            case Cancel():
                core.cancel(command.request)
            case Close():
                return None
    results += core.step()
    return results
