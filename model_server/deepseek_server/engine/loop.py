"""The engine's process at work: commands in, steps, reports out."""

import logging
from multiprocessing.connection import Connection

from deepseek_server.engine.core import Core, DeviceLostError
from deepseek_server.engine.interface import Request
from deepseek_server.engine.messages import Cancel, Close, Command, Failure, Lost, Report, Result

log = logging.getLogger(__name__)


def serve(core: Core, connection: Connection) -> None:
    """Work until the other side closes or is gone, or the device is lost."""
    try:
        while (results := _obey(core, connection)) is not None:
            results += core.step()
            connection.send(Report(results, core.load, core.totals))
    except DeviceLostError as error:
        log.exception("the device is lost")
        connection.send(Lost(str(error)))
    except (EOFError, OSError):
        log.info("the server is gone")


def _obey(core: Core, connection: Connection) -> list[Result] | None:
    """Carry out the commands that are there, waiting for one if there is nothing else to do.

    Returns:
        What came of them at once; None to end.
    """
    results: list[Result] = []
    while core.idle or connection.poll():
        while not connection.poll() and core.prepare():
            pass
        command: Command = connection.recv()
        match command:
            case Request():
                try:
                    core.add(command)
                except ValueError as error:
                    results.append(Failure(command.id, str(error)))
            case Cancel():
                core.cancel(command.request)
            case Close():
                return None
        if core.idle:
            break  # it is to be known that nothing runs any more
    return results
