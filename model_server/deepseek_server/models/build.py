"""Loading of a checkpoint into an engine that accepts requests."""

import logging
from concurrent.futures import ThreadPoolExecutor

from deepseek_server.config import Config
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.engine.core import Core
from deepseek_server.engine.grammar import GrammarCompiler, Matcher
from deepseek_server.engine.ipc import Ready
from deepseek_server.engine.runner import Runner
from deepseek_server.engine.scheduler import StepLimits
from deepseek_server.models.capacity import paged_runner
from deepseek_server.models.defaults import eos_token_ids
from deepseek_server.models.layers.compressed import fits as fits_rings
from deepseek_server.models.loading.checkpoint import Checkpoint
from deepseek_server.models.loading.loading import load
from deepseek_server.models.runners.compressed import compressed_runner
from deepseek_server.models.runners.paged import fits
from deepseek_server.models.runners.sequential import (
    MAX_NUM_BATCHED_TOKENS,
    MAX_NUM_SEQS,
    sequential_runner,
)
from deepseek_server.server.lifecycle import Progress

log = logging.getLogger(__name__)


def load_engine(
    checkpoint: Checkpoint,
    config: Config,
    progress: Progress,
    group: Group = SINGLE_PROCESS,
    *,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    prefill_share: int,
) -> tuple[Core, Ready]:
    """Load a model and create its engine.

    Args:
        checkpoint: the model's files.
        config: the server's configuration.
        progress: receives the progress of loading.
        group: the ranks that compute the model together.
        max_num_seqs: maximum number of requests that run at once; lower for the sequential runner.
        max_num_batched_tokens: maximum number of tokens of a step; lower there too.
        prefill_share: prompt tokens of a step, for every few waiting prompts, while requests decode.

    Returns:
        The engine, and its limits.

    Raises:
        PermanentError: the model cannot be served on this machine; states the cause.
    """
    grammars = _Grammars(checkpoint)
    loaded = load(checkpoint, config.model, config.device, progress, group)
    # The operator reads the first word as the stage.
    progress.begin("making the KV cache")
    paged, compressed = fits(loaded.model), fits_rings(loaded.model)
    if not paged and not compressed:
        log.warning(
            "%s does not support the paged KV cache: its requests are computed one after the other",
            config.model.id,
        )
        max_num_batched_tokens = min(max_num_batched_tokens, MAX_NUM_BATCHED_TOKENS[config.device])
        max_num_seqs = min(max_num_seqs, MAX_NUM_SEQS)
    runner: Runner
    if paged:
        runner = paged_runner(
            loaded.model,
            context=loaded.context,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
            attention=config.attention,
            group=group,
        )
    else:
        other = compressed_runner if compressed else sequential_runner
        runner = other(
            loaded.model,
            context=loaded.context,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
        )
    limits = StepLimits(max_num_batched_tokens, prefill_share, max_num_seqs)
    core = Core(runner, loaded.eos_token_ids, limits, grammars, fragile=group.size > 1)
    return core, Ready(min(loaded.context, runner.num_blocks * runner.block_size), max_num_seqs)


class _Grammars:
    """Factory of grammar matchers; it initializes in the background while the model is loaded."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._directory = checkpoint.directory
        self._vocabulary = int(checkpoint.config["vocab_size"])
        self._eos = eos_token_ids(checkpoint.directory, checkpoint.config, None)
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammars")
        self._compiler = executor.submit(self._make)
        executor.shutdown(wait=False)

    def matcher(self, grammar: str) -> Matcher:
        """See core.Grammars."""
        return self._compiler.result().matcher(grammar)

    def _make(self) -> GrammarCompiler:
        return GrammarCompiler(self._directory, self._vocabulary, self._eos)
