"""From a configuration to a model that takes requests. Runs for minutes, in a thread of its own."""

from deepseek_server.config import Config
from deepseek_server.engine.interface import Limits
from deepseek_server.lifecycle import Progress
from deepseek_server.serving import ServedModel

# Requests that may wait before others are told to come back later.
WAITING = 64


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
    from deepseek_server.engine.generate import GenerateEngine
    from deepseek_server.models.loading import load

    loaded = load(checkpoint, config.model, config.device, progress)
    engine = GenerateEngine(
        loaded.model,
        loaded.codec.decode,
        loaded.eos_token_ids,
        Limits(context=loaded.context, waiting=WAITING),
    )
    return ServedModel(
        name=config.model.name,
        engine=engine,
        codec=loaded.codec,
        vocabulary=int(loaded.model.config.vocab_size),
        defaults=loaded.defaults,
    )
