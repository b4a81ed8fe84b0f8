"""Start of the model from a configuration. Takes minutes, in a thread of its own."""

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

from deepseek_server.config import Config
from deepseek_server.engine.client import EngineClient
from deepseek_server.engine.ipc import Close, Loading, NetworkReport, Ready, StartFailed
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

Message = TypeVar("Message", NetworkReport, Ready)

# Length of the queue of waiting requests; further ones are rejected with a 429.
WAITING = 64
# Seconds that a step may take before the engine counts as stuck. On GPUs this is torch's default
# timeout of an NCCL collective (distributed/process_group.py); the largest step takes seconds there.
# A CPU may need a quarter of an hour for a long prompt of a large model.
STEP_SECONDS = {"cpu": 1800.0, "cuda": 600.0}
# Time for the ranks of a pod to notify the others that they end.
GIVE_UP_SECONDS = 3.0


def _ignore_network_report(_: NetworkReport) -> None:
    """Do nothing, for a single pod."""


def start(
    config: Config,
    progress: Progress,
    launch: Callable[[Config], Worker] = WorkerProcess,
    on_network_report: Callable[[NetworkReport], None] = _ignore_network_report,
) -> ServedModel:
    """Fetch the model, have a worker load it, and return it with its engine.

    Args:
        config: the configuration.
        progress: gets the progress of the start.
        launch: starts a worker.
        on_network_report: called with the network between the pods, if there are several.

    Raises:
        StartError: the message states what is wrong, where, and what to do.
    """
    progress.begin(f"looking for {config.model.id}")
    worker = launch(config)
    try:
        checkpoint = _send_job(worker, config, progress, on_network_report)
        if config.gang is None:  # each pod of a gang needs only a part of the files
            readahead(sorted({tensor.file for tensor in checkpoint.tensors.values()}))
        # Imported here because it takes seconds, during which the worker initializes.
        from deepseek_server.engine import grammar
        from deepseek_server.models.tokenizer import TokenizerCodec

        codec = TokenizerCodec(checkpoint.directory)
        ready = _receive(worker, progress, Ready)
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
            ready.max_num_seqs,
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
    on_network_report: Callable[[NetworkReport], None],
) -> Worker:
    """Have the ranks of a follower load their part of the model.

    Args:
        config: the configuration.
        progress: gets the progress of the start.
        launch: starts the ranks.
        on_network_report: called with the network between the pods.

    Raises:
        StartError: the message states what is wrong, where, and what to do.
    """
    progress.begin(f"looking for {config.model.id}")
    worker = launch(config)
    try:
        _send_job(worker, config, progress, on_network_report)
        _receive(worker, progress, Ready)
    except BaseException:
        worker.end()
        raise
    return worker


def await_end(worker: Worker) -> StartError | None:
    """Wait until the ranks of a follower end.

    Returns:
        None if the leader has asked them to end, else why they ended.
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


def _send_job(
    worker: Worker,
    config: Config,
    progress: Progress,
    on_network_report: Callable[[NetworkReport], None],
) -> Checkpoint:
    """Locate the files and send the job to the worker, in a gang after the ranks have connected."""
    if config.gang is not None:
        progress.begin("connecting to the ranks of the other pods")
        on_network_report(_receive(worker, progress, NetworkReport))
    try:
        checkpoint = inspect(locate(config.model, progress))
    except StartError as error:
        if config.gang is not None:
            _give_up(worker, error)
        raise
    progress.begin("starting torch and transformers")
    connection = worker.connection
    with contextlib.suppress(OSError):  # the worker has ended, which the next receive detects
        connection.send(Job(config, checkpoint))
    return checkpoint


def _give_up(worker: Worker, error: StartError) -> None:
    """Have the ranks of this pod report its error to the other pods before they end."""
    with contextlib.suppress(EOFError, OSError):  # they have ended
        worker.connection.send(StartFailed(str(error), error.exit_code))
        while worker.connection.poll(GIVE_UP_SECONDS):
            worker.connection.recv()


def _receive(worker: Worker, progress: Progress, awaited: type[Message]) -> Message:
    """Wait for a message of the worker, and forward its progress until then."""
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
