"""The process that computes: loads the model, then runs the engine until the server is gone.

Started by deepseek_server.launcher, which gives it the socket to connect to. What it is to load
comes as the first message, so that it can get ready for it while the server still looks for the
files.
"""

import contextlib
import logging
import os
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from deepseek_server import logs
from deepseek_server.config import Config
from deepseek_server.engine.messages import Loading, StartFailed
from deepseek_server.failures import PermanentError, StartError
from deepseek_server.lifecycle import Progress
from deepseek_server.models.checkpoint import Checkpoint

log = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]

# Requests that run at once.
RUNNING = 256
# Tokens that one step computes at most, and tokens of prompts for every few that wait while answers
# run: those are what a running answer is held up by. A CPU takes longer for a token.
STEP_TOKENS = {"cpu": 512, "cuda": 8192}
PROMPT_SHARE = {"cpu": 64, "cuda": 256}
REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """What a worker serves."""

    config: Config
    checkpoint: Checkpoint


class _ReportedProgress(Progress):
    """Progress that the server hears of, if there is one to tell."""

    def __init__(self, connection: Connection | None) -> None:
        super().__init__()
        self._connection = connection
        self._reported = 0.0

    def begin(self, stage: str, total: int = 0) -> None:
        super().begin(stage, total)
        self._report()

    def reach(self, loaded: int, total: int | None = None) -> None:
        super().reach(loaded, total)
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        if self._connection is not None:
            self._connection.send(Loading(self._stage, *self.bytes))


def work(device: Device, connection: Connection | None) -> None:
    """Load what the first message asks for and serve it.

    Args:
        device: what the model is to run on.
        connection: to the server; None in all but the first process of a model.
    """
    # Imported here because it takes seconds, in which the server finds the files.
    from deepseek_server.engine.loop import follow, serve
    from deepseek_server.models.engine import load_engine
    from deepseek_server.parallel.groups import ALONE, join

    group = ALONE
    try:
        job: Job | None = None if connection is None else connection.recv()
        group = join(device)
        job = group.share(job)
        assert job is not None  # noqa: S101 - the first process has a connection
        core, ready = load_engine(
            job.checkpoint,
            job.config,
            _ReportedProgress(connection),
            group,
            sequences=RUNNING,
            step_tokens=STEP_TOKENS[device],
            prompt_share=PROMPT_SHARE[device],
        )
        if connection is None:
            follow(core, group.share)
        else:
            connection.send(ready)
            serve(core, connection, group.share)
    except StartError as error:
        log.error("%s", error)
        _tell(connection, StartFailed(str(error), isinstance(error, PermanentError)))
    except (EOFError, BrokenPipeError):
        log.info("the server is gone")
    except Exception as error:
        log.exception("loading failed")
        sentence = (
            f"loading failed ({type(error).__name__}: {error}): the log of the model server says "
            "more"
        )
        _tell(connection, StartFailed(sentence, permanent=True))
    finally:
        group.close()


def _tell(connection: Connection | None, failure: StartFailed) -> None:
    if connection is not None:
        with contextlib.suppress(OSError):  # the server has given up on its own
            connection.send(failure)


def main() -> None:
    """Work for the server whose address is the second argument, on the device of the first."""
    logs.set_up()
    device: Device = "cuda" if sys.argv[1] == "cuda" else "cpu"
    connection: Connection | None = None
    if os.environ.get("RANK", "0") == "0":
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(sys.argv[2])
        connection = Connection(connected.detach())
    work(device, connection)
    if device == "cuda":
        # Python's own end takes apart what NCCL and recorded steps share, in the wrong order.
        logging.shutdown()
        os._exit(0)


if __name__ == "__main__":
    main()
