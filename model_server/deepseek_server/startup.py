"""From a configuration to a model that takes requests. Runs for minutes, in a thread of its own."""

import logging
from typing import TYPE_CHECKING

from deepseek_server.config import Config
from deepseek_server.engine.interface import Engine, Limits
from deepseek_server.lifecycle import Progress
from deepseek_server.serving import ServedModel

if TYPE_CHECKING:
    from deepseek_server.models.loading import LoadedModel

log = logging.getLogger(__name__)

# Requests that run at once, and that may wait beyond those before others are told to come back later.
RUNNING = 256
WAITING = 64
# Tokens that one step computes: prompts longer than that are computed in pieces between which
# running answers go on, so it bounds how long those are held up. A CPU takes longer for a token.
STEP_TOKENS = {"cpu": 512, "cuda": 8192}


def start(config: Config, progress: Progress) -> ServedModel:
    """Fetch and load the model and start its engine.

    Raises:
        StartError: says what is wrong, where, and what to do.
    """
    # Imported in these places because it takes seconds: the HTTP port is open before, and what is
    # wrong with the files is said before torch and transformers are there.
    progress.begin(f"looking for {config.model.id}")
    from deepseek_server.models.checkpoint import inspect
    from deepseek_server.models.source import locate

    checkpoint = inspect(locate(config.model, progress))

    progress.begin("starting torch and transformers")
    from deepseek_server.models.loading import load

    loaded = load(checkpoint, config.model, config.device, progress)
    return ServedModel(
        name=config.model.name,
        engine=_engine(loaded, config),
        codec=loaded.codec,
        vocabulary=int(loaded.model.config.vocab_size),
        defaults=loaded.defaults,
    )


def _engine(loaded: "LoadedModel", config: Config) -> Engine:
    """Continuous batching where the model fits the paged cache, else one request after the other."""
    from deepseek_server.engine.generate import GenerateEngine
    from deepseek_server.engine.paged import PagedEngine
    from deepseek_server.models.capacity import paged_runner
    from deepseek_server.models.paged import fits

    limits = Limits(context=loaded.context, waiting=WAITING)
    if not fits(loaded.model):
        log.warning(
            "%s does not fit the paged cache: requests are answered one after the other",
            config.model.id,
        )
        return GenerateEngine(loaded.model, loaded.codec.decode, loaded.eos_token_ids, limits)
    step_tokens = STEP_TOKENS[config.device]
    runner = paged_runner(loaded.model, context=loaded.context, step_tokens=step_tokens)
    return PagedEngine(
        runner,
        loaded.codec.decode,
        loaded.eos_token_ids,
        limits,
        token_budget=step_tokens,
        max_sequences=RUNNING,
    )
