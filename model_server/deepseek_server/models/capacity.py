"""KV cache sizing: as many blocks as the memory of this machine allows.

On a GPU the cache is allocated last, from the memory that everything else leaves: weights,
workspaces, memory held by libraries, CUDA graphs, and the largest step after the longest context.
All of these are measured with a small cache first. On a CPU the memory is shared with other
processes, so the cache stays small unless the model's context needs more.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from deepseek_server.attention.backend import AttentionName, choose, create_attention
from deepseek_server.attention.base import CacheSize, Planned
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.distributed.process_group import SINGLE_PROCESS, Group
from deepseek_server.errors import PermanentError
from deepseek_server.models.layers.fused import fuse
from deepseek_server.models.memory_budget import MemoryBudget, affordable
from deepseek_server.models.runners.paged import PagedRunner, heads_of
from deepseek_server.resources import memory_available
from deepseek_server.server.lifecycle import readable_bytes

log = logging.getLogger(__name__)

# Large blocks make shorter block tables, small ones waste less and are shared sooner.
BLOCK_SIZE = {"cpu": 16, "cuda": 64}
CPU_CACHE_BYTES = 2**30
CPU_SHARE = 0.5  # of the available memory; the rest is for prompts, texts and the step itself
# Factor by which a cache that is too large shrinks, and the maximum number of attempts.
SMALLER, ATTEMPTS = 0.9, 5


@dataclass(frozen=True)
class _Cache:
    """Dimensions of a model's cache.

    Attributes:
        make: Returns attention over a cache of a given size.
        layers: Layers of the model.
        block_size: Tokens per block.
        per_token: Bytes per token, over all layers.
        context: Tokens of the longest sequence.
        copies: Share of the cache that attention copies in a step.
    """

    make: Callable[[CacheSize], Planned]
    layers: int
    block_size: int
    per_token: int
    context: int
    copies: float

    def attention(self, blocks: int) -> Planned:
        """Return attention over a cache of the given number of blocks."""
        return self.make(CacheSize(self.layers, blocks, self.block_size, self.context))

    def blocks(self, memory: int) -> int:
        """Return the number of blocks that fit into `memory` bytes.

        Raises:
            PermanentError: Not a single block fits.
        """
        block = self.per_token * self.block_size
        blocks = memory // block - 1  # one is the spare block
        if blocks < 1:
            raise PermanentError(
                f"no memory is left for the KV cache ({readable_bytes(memory)} available, "
                f"{readable_bytes(block)} needed for each block of {self.block_size} tokens): give "
                "the pod more memory or a larger GPU, or choose a smaller model"
            )
        return blocks


def paged_runner(
    model: PreTrainedModel,
    *,
    context: int,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    attention: AttentionName = "auto",
    group: Group = SINGLE_PROCESS,
) -> PagedRunner:
    """Return a runner for a model with the largest paged cache that this machine allows.

    Args:
        model: A model that supports the paged cache (models.runners.paged.fits), on its device.
        context: Tokens of the longest sequence.
        max_num_batched_tokens: Tokens of the largest step.
        max_num_seqs: Maximum number of sequences that run at once.
        attention: The requested attention backend.
        group: The ranks that compute the model together; their caches have the same size.

    Raises:
        PermanentError: There is no memory for a cache, or the requested attention backend is not
            available.
    """
    heads, device = heads_of(model), model.device
    backend = choose(attention, heads, model.dtype, device)
    # Without FlashInfer, a GPU runs the model's original forward of transformers.
    fused = device.type == "cpu" or backend is not SdpaAttention
    if fused:
        fuse(model, context)
    layers = model.config.num_hidden_layers
    cache = _Cache(
        make=lambda size: create_attention(backend, heads, size, model.dtype, device),
        layers=layers,
        block_size=BLOCK_SIZE[device.type],
        per_token=layers * heads.cached_values * model.dtype.itemsize,
        context=context,
        # torch's attention copies the keys and values of a layer, with padding.
        copies=4 / layers if backend is SdpaAttention else 0.0,
    )

    def runner(blocks: int) -> PagedRunner:
        return PagedRunner(model, cache.attention(blocks), max_num_seqs, fused=fused)

    if device.type == "cuda":
        try:
            made = _on_gpu(runner, cache, max_num_batched_tokens, group)
        except torch.cuda.OutOfMemoryError as error:
            raise PermanentError(
                "the GPU has too little memory for the weights and a step of "
                f"{max_num_batched_tokens} tokens: use a larger GPU or more GPUs "
                "(accelerator.count), or choose a smaller model"
            ) from error
    else:
        memory = cpu_cache_bytes(memory_available(), cache.per_token * context)
        made = runner(cache.blocks(group.all_reduce_min(memory)))
    tokens = made.num_blocks * made.block_size
    log.info(
        "KV cache: %d tokens in blocks of %d, %s (%d bytes per token)",
        tokens,
        made.block_size,
        readable_bytes(tokens * cache.per_token),
        cache.per_token,
    )
    if tokens < context:
        log.warning("the KV cache limits requests to %d tokens; the context is %d", tokens, context)
    return made


def _on_gpu(
    make: Callable[[int], PagedRunner], cache: _Cache, max_num_batched_tokens: int, group: Group
) -> PagedRunner:
    """Return a runner with CUDA graphs and with the largest cache that fits beside them."""
    from deepseek_server.models import step_probe
    from deepseek_server.models.runners import cuda_graphs, piecewise_graphs

    runner = make(step_probe.blocks_needed(max_num_batched_tokens, cache.block_size))
    step = step_probe.step_bytes(runner, max_num_batched_tokens, cache.context)
    captured = 0
    if runner.supports_cuda_graphs:
        free = step_probe.free_bytes()
        counts = affordable(
            piecewise_graphs.sizes(max_num_batched_tokens), step, max_num_batched_tokens, free
        )
        if counts:
            runner.capture_piecewise(counts)
        captured = step_probe.decode_graph_bytes(runner)
    runner.use(cache.attention(1))  # frees the small cache
    budget = MemoryBudget(step_probe.free_bytes(), step, captured, cache.copies)
    blocks = cache.blocks(group.all_reduce_min(budget.cache))
    longest = min(cache.context, blocks * cache.block_size)
    largest = step_probe.largest_step(
        cache.block_size, runner.max_num_seqs, max_num_batched_tokens, longest
    )
    for attempt in range(ATTEMPTS):
        try:
            runner.use(cache.attention(blocks))
            if runner.supports_cuda_graphs:
                runner.use_decode_graphs(
                    runner.capture_decode(cuda_graphs.sizes(runner.max_num_seqs))
                )
            step_probe.run(runner, largest)
            break
        except torch.cuda.OutOfMemoryError:
            # Several ranks would have to agree on a smaller size; they fail together instead.
            if group.size > 1 or attempt == ATTEMPTS - 1:
                raise
        runner.use(cache.attention(1))
        step_probe.free_bytes()
        blocks = max(int(blocks * SMALLER), 1)
        log.warning(
            "the largest step does not fit beside the KV cache: reducing it to %d blocks", blocks
        )
    log.info(
        "GPU memory beside weights and KV cache: %s for the largest step, %s for CUDA graphs of "
        "decode steps, %s kept free",
        *map(readable_bytes, (step, captured, budget.kept_free)),
    )
    return runner


def cpu_cache_bytes(available: int, longest: int) -> int:
    """Return the bytes of a cache in CPU memory.

    Args:
        available: Bytes that the process can still allocate.
        longest: Bytes of the longest sequence.
    """
    return min(int(available * CPU_SHARE), max(CPU_CACHE_BYTES, longest))
