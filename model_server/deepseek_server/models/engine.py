"""From a checkpoint to an engine that takes requests."""

from deepseek_server.config import Config
from deepseek_server.engine.core import Core
from deepseek_server.engine.scheduler import StepSize
from deepseek_server.failures import PermanentError
from deepseek_server.lifecycle import Progress
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.checkpoint import Checkpoint
from deepseek_server.models.loading import load
from deepseek_server.models.paged import fits


def load_engine(
    checkpoint: Checkpoint,
    config: Config,
    progress: Progress,
    *,
    sequences: int,
    step_tokens: int,
    prompt_share: int,
) -> tuple[Core, int]:
    """Load a model and put an engine around it.

    Args:
        checkpoint: the model's files.
        config: how it is to be served.
        progress: told how far it is.
        sequences: requests that run at once at most.
        step_tokens: tokens of one step at most.
        prompt_share: tokens of prompts in a step, for every few that wait, while answers run.

    Returns:
        The engine, and tokens of the longest sequence that it can take.

    Raises:
        PermanentError: it cannot be served here; says why.
    """
    loaded = load(checkpoint, config.model, config.device, progress)
    if not fits(loaded.model):
        raise PermanentError(f"{config.model.id} does not fit the paged cache")
    progress.begin("making room for running requests")
    runner = paged_runner(
        loaded.model, context=loaded.context, step_tokens=step_tokens, sequences=sequences
    )
    size = StepSize(step_tokens, prompt_share, sequences, runner.whole_prompts)
    core = Core(runner, loaded.eos_token_ids, size)
    return core, min(loaded.context, runner.num_blocks * runner.block_size)
