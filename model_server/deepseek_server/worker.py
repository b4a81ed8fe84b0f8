"""The process that computes: loads the model, then runs the engine until the server is gone.

Started by deepseek_server.launcher, which gives it the socket to connect to. What it is to load
comes as the first message, so that it can get ready for it while the server still looks for the
files.
"""

import logging
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from deepseek_server import logs
from deepseek_server.config import Config
from deepseek_server.engine.messages import Loading, StartFailed
from deepseek_server.failures import PermanentError, StartError
from deepseek_server.lifecycle import Progress
from deepseek_server.models.checkpoint import Checkpoint

log = logging.getLogger(__name__)

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
    """Progress that the server hears of."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._reported = 0.0

    def begin(self, stage: str, total: int = 0) -> None:
        super().begin(stage, total)
        self._connection.send(Loading(stage, 0, total))
        self._stage_name = stage

    def reach(self, loaded: int, total: int | None = None) -> None:
        super().reach(loaded, total)
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            self._connection.send(Loading(self._stage_name, *self.bytes))


def work(connection: Connection) -> None:
    """Load what the first message asks for and serve it."""
    # Imported here because it takes seconds, in which the server finds the files.
    from deepseek_server.engine.loop import serve
    from deepseek_server.models.engine import load_engine

    try:
        job: Job = connection.recv()
        core, ready = load_engine(
            job.checkpoint,
            job.config,
            _ReportedProgress(connection),
            sequences=RUNNING,
            step_tokens=STEP_TOKENS[job.config.device],
            prompt_share=PROMPT_SHARE[job.config.device],
        )
        connection.send(ready)
    except StartError as error:
        connection.send(StartFailed(str(error), isinstance(error, PermanentError)))
        return
    except (EOFError, BrokenPipeError):
        log.info("the server is gone")
        return
    except Exception as error:
        log.exception("loading failed")
        sentence = f"loading failed ({type(error).__name__}: {error}): the log of the model server says more"
        connection.send(StartFailed(sentence, permanent=True))
        return
    serve(core, connection)


def main() -> None:
    """Connect to the server whose address is the only argument, and work for it."""
    logs.set_up()
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(sys.argv[1])
    work(Connection(connected.detach()))


if __name__ == "__main__":
    main()
