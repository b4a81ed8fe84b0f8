"""From a configuration to a model that takes requests. Runs for minutes, in a thread of its own."""

import logging
from collections.abc import Callable

from deepseek_server.config import Config
from deepseek_server.engine.client import EngineClient
from deepseek_server.engine.interface import Limits
from deepseek_server.engine.messages import Loading, Ready, StartFailed
from deepseek_server.engine.watchdog import Watchdog
from deepseek_server.failures import PermanentError, TransientError
from deepseek_server.launcher import Worker, WorkerProcess
from deepseek_server.lifecycle import Progress
from deepseek_server.models.checkpoint import inspect
from deepseek_server.models.defaults import sampling_defaults
from deepseek_server.models.readahead import readahead
from deepseek_server.models.source import locate
from deepseek_server.serving import ServedModel
from deepseek_server.worker import Job

log = logging.getLogger(__name__)

# Requests that may wait beyond those that run before others are told to come back later.
WAITING = 64
# Seconds that a step may take before its engine counts as stuck. On GPUs as long as torch gives a
# collective of NCCL (its default; parallel/groups.py); the largest step takes seconds there. A CPU
# may need a quarter of an hour for a long prompt of a large model.
STEP_SECONDS = {"cpu": 1800.0, "cuda": 600.0}


def start(
    config: Config, progress: Progress, launch: Callable[[Config], Worker] = WorkerProcess
) -> ServedModel:
    """Fetch the model, let a worker load it, and connect to that.

    Args:
        config: what is to be served.
        progress: told how far it is.
        launch: starts a worker.

    Raises:
        StartError: says what is wrong, where, and what to do.
    """
    progress.begin(f"looking for {config.model.id}")
    worker = launch(config)
    try:
        checkpoint = inspect(locate(config.model, progress))
        progress.begin("starting torch and transformers")
        worker.connection.send(Job(config, checkpoint))
        readahead(sorted({tensor.file for tensor in checkpoint.tensors.values()}))
        # Imported here because it takes seconds, in which the worker gets ready.
        from deepseek_server.engine import grammar
        from deepseek_server.models.codec import TokenizerCodec

        codec = TokenizerCodec(checkpoint.directory)
        ready = _loaded(worker, progress)
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


def _loaded(worker: Worker, progress: Progress) -> Ready:
    """Wait until the worker takes requests, and pass on how far it is."""
    stage = ""
    while True:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError) as error:
            raise PermanentError(
                f"loading failed ({worker.why_ended()}): the log of the model server says more"
            ) from error
        match message:
            case Loading():
                if message.stage != stage:
                    progress.begin(stage := message.stage, message.total)
                progress.reach(message.loaded, message.total)
            case StartFailed():
                failure = PermanentError if message.permanent else TransientError
                raise failure(message.sentence)
            case Ready():
                return message
