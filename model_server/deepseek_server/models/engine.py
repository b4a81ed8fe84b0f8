"""From a checkpoint to an engine that takes requests."""

import logging

from deepseek_server.config import Config
from deepseek_server.engine.core import Core
from deepseek_server.engine.messages import Ready
from deepseek_server.engine.scheduler import StepSize
from deepseek_server.engine.step import Runner
from deepseek_server.lifecycle import Progress
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.checkpoint import Checkpoint
from deepseek_server.models.loading import load
from deepseek_server.models.paged import fits
from deepseek_server.models.whole import SEQUENCES, STEP_TOKENS, whole_runner

log = logging.getLogger(__name__)


def load_engine(
    checkpoint: Checkpoint,
    config: Config,
    progress: Progress,
    *,
    sequences: int,
    step_tokens: int,
    prompt_share: int,
) -> tuple[Core, Ready]:
    """Load a model and put an engine around it.

    Args:
        checkpoint: the model's files.
        config: how it is to be served.
        progress: told how far it is.
        sequences: requests that run at once at most.
        step_tokens: tokens of one step at most.
        prompt_share: tokens of prompts in a step, for every few that wait, while answers run.

    Returns:
        The engine, and what it can take.

    Raises:
        PermanentError: it cannot be served here; says why.
    """
    loaded = load(checkpoint, config.model, config.device, progress)
    progress.begin("making room for running requests")
    runner: Runner
    if fits(loaded.model):
        runner = paged_runner(
            loaded.model, context=loaded.context, step_tokens=step_tokens, sequences=sequences
        )
    else:
        log.warning(
            "%s does not fit the paged cache: its requests are computed one after the other",
            config.model.id,
        )
        sequences, step_tokens = SEQUENCES, STEP_TOKENS[config.device]
        runner = whole_runner(
            loaded.model, context=loaded.context, step_tokens=step_tokens, sequences=sequences
        )
    size = StepSize(step_tokens, prompt_share, sequences, runner.whole_prompts)
    core = Core(runner, loaded.eos_token_ids, size)
    context = min(loaded.context, runner.num_blocks * runner.block_size)
    return core, Ready(context, sequences)
