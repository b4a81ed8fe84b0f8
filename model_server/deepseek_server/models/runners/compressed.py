"""The runner of DeepSeek-V4: blocks of compressed entries, and ring buffers for each request."""

import logging

from transformers import PreTrainedModel

from deepseek_server.attention.base import CacheSize
from deepseek_server.attention.compressed.attention import CompressedAttention
from deepseek_server.errors import PermanentError
from deepseek_server.models.capacity import BLOCK_SIZE, cpu_cache_bytes
from deepseek_server.models.footprint import Footprint
from deepseek_server.models.layers import compressed
from deepseek_server.models.memory_budget import MemoryBudget
from deepseek_server.models.runners.paged import PagedRunner
from deepseek_server.resources import memory_available
from deepseek_server.server.lifecycle import readable_bytes

log = logging.getLogger(__name__)


class CompressedRunner(PagedRunner):
    """A model whose sequences have ring buffers beside their blocks: see engine.runner.Runner."""

    # A block does not contain the ring buffer that its sequence had when the block was filled.
    shares_prefixes = False


def compressed_runner(
    model: PreTrainedModel, *, context: int, max_num_batched_tokens: int, max_num_seqs: int
) -> CompressedRunner:
    """Return a runner for a model with ring buffers and as many blocks as this machine allows.

    Args:
        model: A supported model (models.layers.compressed.fits), on its device.
        context: Tokens of the longest sequence.
        max_num_batched_tokens: Tokens of the largest step.
        max_num_seqs: Maximum number of sequences that run at once.

    Raises:
        PermanentError: There is no memory for a cache.
    """
    device, kept = model.device, footprint(model)
    shape = compressed.shape_of(model.config)
    block_size = shape.stretch * -(-BLOCK_SIZE[device.type] // shape.stretch)
    compressed.absorb(model)

    def runner(blocks: int) -> CompressedRunner:
        size = CacheSize(len(shape.kinds), blocks, block_size)
        attention = CompressedAttention(shape, size, max_num_seqs, model.dtype, device)
        return CompressedRunner(model, attention, max_num_seqs)

    rings = max_num_seqs * kept.per_sequence
    if device.type == "cuda":
        from deepseek_server.models import step_probe

        small = runner(step_probe.blocks_needed(max_num_batched_tokens, block_size))
        step = step_probe.step_bytes(small, max_num_batched_tokens, context)
        del small
        memory = MemoryBudget(step_probe.free_bytes(), step).cache
    else:
        memory = cpu_cache_bytes(memory_available(), rings + kept.per_token * context)
    block = shape.of_tokens(block_size) * model.dtype.itemsize
    blocks = (memory - rings) // block - 1  # one is the spare block
    if blocks < 1:
        raise PermanentError(
            f"no memory is left for the KV cache ({readable_bytes(memory)} available; {max_num_seqs} "
            f"requests need {readable_bytes(rings)}, plus {readable_bytes(block)} per "
            f"{block_size} tokens): give the pod more memory or a larger GPU, or choose a smaller "
            "model"
        )
    log.info(
        "KV cache: %d tokens in blocks of %d, %s, and %s for the ring buffers of %d requests",
        blocks * block_size,
        block_size,
        readable_bytes(blocks * block),
        readable_bytes(rings),
        max_num_seqs,
    )
    if blocks * block_size < context:
        log.warning(
            "the KV cache limits requests to %d tokens; the context is %d",
            blocks * block_size,
            context,
        )
    return runner(blocks)


def footprint(model: PreTrainedModel) -> Footprint:
    """Return the size of a sequence's ring buffers and, per token, of its entries."""
    shape, number = compressed.shape_of(model.config), model.dtype.itemsize
    per_token = -(-shape.of_tokens(shape.stretch) * number // shape.stretch)
    return Footprint(shape.of_sequence * number, per_token)
