"""How many tokens the cache holds: as many as the memory lets it.

On a GPU the cache is made last, of what everything else leaves: weights, workspaces, what libraries
keep, graphs, and the largest step after the longest context, all of which are measured on a small
cache first. On a CPU the memory is shared with others, so the cache stays small unless the model's
context asks for more.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from deepseek_server.attention.backend import AttentionName, choose, made_of
from deepseek_server.attention.base import CacheSize, Planned
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.distributed.process_group import ALONE, Group
from deepseek_server.errors import PermanentError
from deepseek_server.models.layers.fused import fuse
from deepseek_server.models.memory_budget import Beside, affordable
from deepseek_server.models.runners.paged import PagedRunner, heads_of
from deepseek_server.resources import memory_available
from deepseek_server.server.lifecycle import readable_bytes

log = logging.getLogger(__name__)

# Large blocks are cheaper to list, small ones waste less and are shared sooner.
BLOCK_SIZE = {"cpu": 16, "cuda": 64}
CPU_CACHE_BYTES = 2**30
CPU_SHARE = 0.5  # of the memory available; the rest is for prompts, texts and the step itself
# A cache that turns out to be too large is made smaller by so much, so often.
SMALLER, ATTEMPTS = 0.9, 5


@dataclass(frozen=True)
class _Cache:
    """What a cache of this model is made of.

    Attributes:
        make: Makes attention over a cache of an extent.
        layers: Layers of the model.
        block_size: Tokens of a block.
        per_token: Bytes of a token in all layers.
        context: Tokens of the longest sequence.
        copies: What attention copies of the cache in a step, as a share of the cache.
    """

    make: Callable[[CacheSize], Planned]
    layers: int
    block_size: int
    per_token: int
    context: int
    copies: float

    def attention(self, blocks: int) -> Planned:
        """Return attention over a cache of so many blocks."""
        return self.make(CacheSize(self.layers, blocks, self.block_size, self.context))

    def blocks(self, memory: int) -> int:
        """Return how many blocks so many bytes hold.

        Raises:
            PermanentError: None.
        """
        block = self.per_token * self.block_size
        blocks = memory // block - 1  # one is kept as a spare
        if blocks < 1:
            raise PermanentError(
                f"no memory is left for the cache of running requests ({readable_bytes(memory)}, "
                f"and {self.block_size} tokens take {readable_bytes(block)}): give the pod more "
                "memory or a larger GPU, or choose a smaller model"
            )
        return blocks


def paged_runner(
    model: PreTrainedModel,
    *,
    context: int,
    step_tokens: int,
    sequences: int,
    attention: AttentionName = "auto",
    group: Group = ALONE,
) -> PagedRunner:
    """Put a model onto a paged cache as large as this machine allows.

    Args:
        model: A model that fits the paged cache (models.paged.fits), on its device.
        context: Tokens of the longest sequence.
        step_tokens: Tokens of the largest step.
        sequences: Sequences that run at once at most.
        attention: What computes attention.
        group: The processes that compute the model together; their caches are of one size.

    Raises:
        PermanentError: There is no memory for a cache, or the wanted attention cannot be had.
    """
    heads, device = heads_of(model), model.device
    backend = choose(attention, heads, model.dtype, device)
    # Without FlashInfer, a GPU computes the model as transformers does.
    fused = device.type == "cpu" or backend is not SdpaAttention
    if fused:
        fuse(model, context)
    layers = model.config.num_hidden_layers
    cache = _Cache(
        make=lambda size: made_of(backend, heads, size, model.dtype, device),
        layers=layers,
        block_size=BLOCK_SIZE[device.type],
        per_token=layers * heads.cached_values * model.dtype.itemsize,
        context=context,
        # torch's attention gathers the keys and values of a layer, padded.
        copies=4 / layers if backend is SdpaAttention else 0.0,
    )

    def runner(blocks: int) -> PagedRunner:
        return PagedRunner(model, cache.attention(blocks), sequences, fused=fused)

    if device.type == "cuda":
        try:
            made = _on_gpu(runner, cache, step_tokens, group)
        except torch.cuda.OutOfMemoryError as error:
            raise PermanentError(
                f"the GPU has no memory for a step of {step_tokens} tokens beside the weights: take "
                "a larger GPU or more of them (accelerator.count), or choose a smaller model"
            ) from error
    else:
        memory = cpu_cache_bytes(memory_available(), cache.per_token * context)
        made = runner(cache.blocks(group.smallest(memory)))
    tokens = made.num_blocks * made.block_size
    log.info(
        "the cache holds %d tokens in blocks of %d, %s (%d bytes for a token)",
        tokens,
        made.block_size,
        readable_bytes(tokens * cache.per_token),
        cache.per_token,
    )
    if tokens < context:
        log.warning("requests are limited to %d tokens, not %d, by the cache", tokens, context)
    return made


def _on_gpu(
    make: Callable[[int], PagedRunner], cache: _Cache, step_tokens: int, group: Group
) -> PagedRunner:
    """Return a runner with graphs, and with all the cache that is possible beside them."""
    from deepseek_server.models import step_probe
    from deepseek_server.models.runners import cuda_graphs as graphs
    from deepseek_server.models.runners import piecewise_graphs as pieces

    runner = make(step_probe.blocks_needed(step_tokens, cache.block_size))
    step = step_probe.step_bytes(runner, step_tokens, cache.context)
    captured = 0
    if runner.can_be_recorded:
        free = step_probe.free_bytes()
        counts = affordable(pieces.sizes(step_tokens), step, step_tokens, free)
        if counts:
            runner.capture_pieces(counts)
        captured = step_probe.decode_graph_bytes(runner)
    runner.use(cache.attention(1))  # gives the small cache back
    beside = Beside(step_probe.free_bytes(), step, captured, cache.copies)
    blocks = cache.blocks(group.smallest(beside.cache))
    longest = min(cache.context, blocks * cache.block_size)
    largest = step_probe.largest_step(cache.block_size, runner.sequences, step_tokens, longest)
    for attempt in range(ATTEMPTS):
        try:
            runner.use(cache.attention(blocks))
            if runner.can_be_recorded:
                runner.run_with(runner.capture_decode(graphs.sizes(runner.sequences)))
            step_probe.run(runner, largest)
            break
        except torch.cuda.OutOfMemoryError:
            # Of several processes each would have to know; what one lacks ends all of them.
            if group.size > 1 or attempt == ATTEMPTS - 1:
                raise
        runner.use(cache.attention(1))
        step_probe.free_bytes()
        blocks = max(int(blocks * SMALLER), 1)
        log.warning("the largest step does not fit beside the cache: it gets %d blocks", blocks)
    log.info(
        "beside weights and cache: %s for the largest step, %s for graphs of decode steps, and %s "
        "stay free",
        *map(readable_bytes, (step, captured, beside.kept_free)),
    )
    return runner


def cpu_cache_bytes(available: int, longest: int) -> int:
    """Bytes for the cache in a CPU's memory.

    Args:
        available: Bytes that the process can still take.
        longest: Bytes of the longest sequence.
    """
    return min(int(available * CPU_SHARE), max(CPU_CACHE_BYTES, longest))
