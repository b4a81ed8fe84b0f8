"""The engine's processes at work: commands in, steps, reports out.

Where several processes compute one model, each has an engine of its own and all of them do the
same: the first one passes on the commands that it has got from the server, those of one step at
once, and so everything that an engine decides is decided alike.
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

Share = Callable[[Any], Any]


def _alone(value: Any) -> Any:
    return value


def serve(core: Core, connection: Connection, share: Share = _alone) -> str:
    """Work for a server until it closes or is gone, or the device is lost.

    Args:
        core: the engine.
        connection: to the server.
        share: gives a value to the other processes, and returns it.

    Returns:
        Why the device is lost, which the server knows; empty where it ended otherwise.
    """
    inbox, totals = _Inbox(core, connection), _Totals(core)
    try:
        while True:
            commands = share(inbox.next())
            results = _obey(core, commands)
            if results is None:
                return ""
            connection.send(Report(results, core.load, totals.due()))
    except DeviceLostError as error:
        log.exception("the device is lost")
        connection.send(Lost(str(error)))
        return str(error)
    except OSError:
        log.info("the server is gone")
        with contextlib.suppress(OSError):  # the other processes are gone too
            share([Close(lost=True)])
    return ""


def follow(core: Core, share: Share) -> Close:
    """Do what the first process does, until it ends.

    Args:
        core: the engine.
        share: returns what the first process gives to all.

    Returns:
        The command to end.

    Raises:
        DeviceLostError: nothing can be computed here any more.
    """
    while True:
        commands = share(None)
        if _obey(core, commands) is None:
            return next(command for command in commands if isinstance(command, Close))


class _Totals:
    """What the engine has done, now and then: it takes longer to send than the tokens of a step."""

    def __init__(self, core: Core) -> None:
        self._core, self._told = core, 0.0

    def due(self) -> Totals | None:
        """The totals after a pause, or before the engine rests."""
        now = time.monotonic()
        if now - self._told < TOTALS_SECONDS and not self._core.idle:
            return None
        self._told = now
        return self._core.totals


class _Inbox:
    """The commands of a server."""

    def __init__(self, core: Core, connection: Connection) -> None:
        self._core, self._connection = core, connection

    def next(self) -> list[Command]:
        """The commands that are there; waits for one if there is nothing else to do."""
        commands: list[Command] = []
        try:
            if self._core.idle:
                commands.append(self._connection.recv())
            while self._connection.poll():
                commands.append(self._connection.recv())
        except (EOFError, OSError):
            log.info("the server is gone")
            commands.append(Close(lost=True))
        return commands


def _obey(core: Core, commands: list[Command]) -> list[Result] | None:
    """Carry out commands and make a step.

    Returns:
        What came of them; None to end.
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
