"""How many tokens the cache holds: as many as the memory lets it.

On a GPU everything that weights and one step leave free becomes cache. What a step takes is
measured: the largest one is run on a small cache, and the allocator's peak is read. On a CPU the
memory is shared with others, so the cache stays small unless the model's context asks for more.
"""

import logging

import torch
from transformers import PreTrainedModel

from deepseek_server.attention.choice import AttentionName, choose, made_of
from deepseek_server.attention.interface import CacheSize
from deepseek_server.attention.sdpa import SdpaAttention
from deepseek_server.engine.step import Chunk
from deepseek_server.failures import PermanentError
from deepseek_server.lifecycle import readable_bytes
from deepseek_server.models.fused import fuse
from deepseek_server.models.paged import PagedRunner, heads_of
from deepseek_server.parallel.groups import ALONE, Group
from deepseek_server.resources import memory_available

log = logging.getLogger(__name__)

# Large blocks are cheaper to list, small ones waste less and are shared sooner.
BLOCK_SIZE = {"cpu": 16, "cuda": 64}
CPU_CACHE_BYTES = 2**30
CPU_SHARE = 0.5  # of the memory available; the rest is for prompts, texts and the step itself
GPU_SHARE = 0.9  # of the memory free; the rest is for fragments and what libraries load later


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
    block_size, layers = BLOCK_SIZE[device.type], model.config.num_hidden_layers
    per_token = layers * heads.cached_values * model.dtype.itemsize

    def runner(blocks: int) -> PagedRunner:
        size = CacheSize(layers, blocks, block_size)
        attention = made_of(backend, heads, size, model.dtype, device)
        return PagedRunner(model, attention, sequences, fused=fused)

    if device.type == "cuda":
        probe = -(-step_tokens // block_size)
        small = runner(probe)
        free, step = _measure(small, step_tokens)
        memory = gpu_cache_bytes(free, step, recorded=small.can_be_recorded)
        del small
    else:
        memory = cpu_cache_bytes(memory_available(), per_token * context)
    memory = group.smallest(memory)
    blocks = memory // (per_token * block_size) - 1  # one is kept as a spare
    tokens = blocks * block_size
    if blocks < 1:
        raise PermanentError(
            f"no memory is left for the cache of running requests ({readable_bytes(memory)}, and "
            f"{block_size} tokens take {readable_bytes(per_token * block_size)}): give the pod "
            "more memory or a larger GPU, or choose a smaller model"
        )
    log.info(
        "the cache holds %d tokens in blocks of %d, %s (%d bytes for a token)",
        tokens,
        block_size,
        readable_bytes(blocks * block_size * per_token),
        per_token,
    )
    if tokens < context:
        log.warning("requests are limited to %d tokens, not %d, by the cache", tokens, context)
    full = runner(blocks)
    full.record(step_tokens)
    return full


def cpu_cache_bytes(available: int, longest: int) -> int:
    """Bytes for the cache in a CPU's memory.

    Args:
        available: Bytes that the process can still take.
        longest: Bytes of the longest sequence.
    """
    return min(int(available * CPU_SHARE), max(CPU_CACHE_BYTES, longest))


def gpu_cache_bytes(free: int, step: int, *, recorded: bool = False) -> int:
    """Bytes for the cache in a GPU's memory.

    Args:
        free: Bytes that are free between steps.
        step: Bytes that a step takes beside the cache.
        recorded: Whether steps are recorded, which keep to themselves what the largest one takes.
    """
    return max(int(free * GPU_SHARE) - (2 if recorded else 1) * step, 0)


def _measure(runner: PagedRunner, step_tokens: int) -> tuple[int, int]:
    """Bytes that are free without the runner's own cache, and bytes that the largest step takes."""
    blocks = tuple(range(runner.num_blocks))
    chunk = Chunk((0,) * step_tokens, start=0, blocks=blocks, sample=True)
    runner.run([chunk])  # libraries load their kernels
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    runner.run([chunk])
    torch.cuda.synchronize()
    step = torch.cuda.max_memory_allocated() - before
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0], step
