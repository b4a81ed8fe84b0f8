"""From a configuration to a model that takes requests. Runs for minutes, in a thread of its own."""

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

from deepseek_server.config import Config
from deepseek_server.engine.client import EngineClient
from deepseek_server.engine.ipc import Close, Loading, Met, Ready, StartFailed
from deepseek_server.engine.types import Limits
from deepseek_server.engine.watchdog import Watchdog
from deepseek_server.errors import StartError, failure
from deepseek_server.models.defaults import sampling_defaults
from deepseek_server.models.loading.checkpoint import Checkpoint, inspect
from deepseek_server.models.loading.readahead import readahead
from deepseek_server.models.loading.source import locate
from deepseek_server.server.lifecycle import Progress
from deepseek_server.server.served_model import ServedModel
from deepseek_server.worker.launch import Worker, WorkerProcess
from deepseek_server.worker.main import Job

log = logging.getLogger(__name__)

Message = TypeVar("Message", Met, Ready)

# Requests that may wait beyond those that run before others are told to come back later.
WAITING = 64
# Seconds that a step may take before its engine counts as stuck. On GPUs as long as torch gives a
# collective of NCCL (its default; distributed/process_group.py); the largest step takes seconds there. A CPU
# may need a quarter of an hour for a long prompt of a large model.
STEP_SECONDS = {"cpu": 1800.0, "cuda": 600.0}
# What the ranks of a pod may take to tell the others that they end.
GIVE_UP_SECONDS = 3.0


def _nobody_asks(_: Met) -> None:
    """There is one pod only."""


def start(
    config: Config,
    progress: Progress,
    launch: Callable[[Config], Worker] = WorkerProcess,
    met: Callable[[Met], None] = _nobody_asks,
) -> ServedModel:
    """Fetch the model, let a worker load it, and connect to that.

    Args:
        config: what is to be served.
        progress: told how far it is.
        launch: starts a worker.
        met: told what lies between the pods, where there are several.

    Raises:
        StartError: says what is wrong, where, and what to do.
    """
    progress.begin(f"looking for {config.model.id}")
    worker = launch(config)
    try:
        checkpoint = _give(worker, config, progress, met)
        if config.gang is None:  # of several pods each needs a part of the files
            readahead(sorted({tensor.file for tensor in checkpoint.tensors.values()}))
        # Imported here because it takes seconds, in which the worker gets ready.
        from deepseek_server.engine import grammar
        from deepseek_server.models.tokenizer import TokenizerCodec

        codec = TokenizerCodec(checkpoint.directory)
        ready = _hear(worker, progress, Ready)
    except BaseException:
        worker.end()
        raise
    limits = Limits(context=ready.context, waiting=WAITING)
    return ServedModel(
        name=config.model.name,
        engine=EngineClient(
            worker.connection,
            codec.decode,
            limits,
            ready.sequences,
            worker.why_ended,
            worker.finish,
            Watchdog(STEP_SECONDS[config.device]),
        ),
        codec=codec,
        vocabulary=int(checkpoint.config["vocab_size"]),
        defaults=sampling_defaults(checkpoint.directory),
        tool_format=config.model.tool_format,
        reasoning=config.model.reasoning,
        check_grammar=grammar.validate,
    )


def follow(
    config: Config,
    progress: Progress,
    launch: Callable[[Config], Worker],
    met: Callable[[Met], None],
) -> Worker:
    """Let the ranks of a pod that does not lead load their part of the model.

    Args:
        config: what is to be served.
        progress: told how far they are.
        launch: starts them.
        met: told what lies between the pods.

    Raises:
        StartError: says what is wrong, where, and what to do.
    """
    progress.begin(f"looking for {config.model.id}")
    worker = launch(config)
    try:
        _give(worker, config, progress, met)
        _hear(worker, progress, Ready)
    except BaseException:
        worker.end()
        raise
    return worker


def await_end(worker: Worker) -> StartError | None:
    """Wait until ranks that follow end.

    Returns:
        None if the leader has asked them to, else why they did.
    """
    failed: StartError | None = None
    try:
        while True:
            match worker.connection.recv():
                case Close():
                    break
                case StartFailed() as message:
                    failed = failure(message.exit_code, message.sentence)
                    break
    except (EOFError, OSError):
        failed = worker.failure()
    worker.end()
    return failed


def _give(
    worker: Worker, config: Config, progress: Progress, met: Callable[[Met], None]
) -> Checkpoint:
    """Find the files and tell a worker; one of several pods has met the others before that."""
    if config.gang is not None:
        progress.begin("meeting the ranks of the other pods")
        met(_hear(worker, progress, Met))
    try:
        checkpoint = inspect(locate(config.model, progress))
    except StartError as error:
        if config.gang is not None:
            _give_up(worker, error)
        raise
    progress.begin("starting torch and transformers")
    connection = worker.connection
    with contextlib.suppress(OSError):  # it has ended, which whoever listens to it finds out
        connection.send(Job(config, checkpoint))
    return checkpoint


def _give_up(worker: Worker, error: StartError) -> None:
    """Let the ranks of this pod tell those of the others what is wrong here, before they end."""
    with contextlib.suppress(EOFError, OSError):  # they have ended
        worker.connection.send(StartFailed(str(error), error.exit_code))
        while worker.connection.poll(GIVE_UP_SECONDS):
            worker.connection.recv()


def _hear(worker: Worker, progress: Progress, awaited: type[Message]) -> Message:
    """Wait until the worker says something, and pass on how far it is."""
    stage = ""
    while True:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError) as error:
            raise worker.failure() from error
        match message:
            case Loading():
                if message.stage != stage:
                    progress.begin(stage := message.stage, message.total)
                progress.reach(message.loaded, message.total)
            case StartFailed():
                raise failure(message.exit_code, message.sentence)
            case awaited():
                return message
