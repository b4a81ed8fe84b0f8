"""Gives DeepSeek-V4 as many blocks of entries, and a ring for each slot, as the memory lets it."""

import logging

from transformers import PreTrainedModel

from deepseek_server.attention.base import CacheSize
from deepseek_server.attention.compressed.attention import CompressedAttention
from deepseek_server.errors import PermanentError
from deepseek_server.models.capacity import BLOCK_SIZE, cpu_cache_bytes
from deepseek_server.models.footprint import Footprint
from deepseek_server.models.layers import compressed
from deepseek_server.models.memory_budget import Beside
from deepseek_server.models.runners.paged import PagedRunner
from deepseek_server.resources import memory_available
from deepseek_server.server.lifecycle import readable_bytes

log = logging.getLogger(__name__)


class CompressedRunner(PagedRunner):
    """A model whose sequences have rings beside their blocks: see engine.step.Runner."""

    # A block lacks what the ring of its sequence had when it was filled.
    shares_prefixes = False


def compressed_runner(
    model: PreTrainedModel, *, context: int, step_tokens: int, sequences: int
) -> CompressedRunner:
    """Put a model onto rings and blocks, as many as this machine allows.

    Args:
        model: A model that fits (models.layers.compressed.fits), on its device.
        context: Tokens of the longest sequence.
        step_tokens: Tokens of the largest step.
        sequences: Sequences that run at once at most.

    Raises:
        PermanentError: There is no memory for them.
    """
    device, kept = model.device, footprint(model)
    shape = compressed.shape_of(model.config)
    block_size = shape.stretch * -(-BLOCK_SIZE[device.type] // shape.stretch)
    compressed.absorb(model)

    def runner(blocks: int) -> CompressedRunner:
        size = CacheSize(len(shape.kinds), blocks, block_size)
        attention = CompressedAttention(shape, size, sequences, model.dtype, device)
        return CompressedRunner(model, attention, sequences)

    rings = sequences * kept.per_sequence
    if device.type == "cuda":
        from deepseek_server.models import step_probe

        small = runner(step_probe.blocks_needed(step_tokens, block_size))
        step = step_probe.step_bytes(small, step_tokens, context)
        del small
        memory = Beside(step_probe.free_bytes(), step).cache
    else:
        memory = cpu_cache_bytes(memory_available(), rings + kept.per_token * context)
    block = shape.of_tokens(block_size) * model.dtype.itemsize
    blocks = (memory - rings) // block - 1  # one is kept as a spare
    if blocks < 1:
        raise PermanentError(
            f"no memory is left for the cache of running requests ({readable_bytes(memory)}, and "
            f"{sequences} requests take {readable_bytes(rings)} with {readable_bytes(block)} for "
            f"every {block_size} tokens): give the pod more memory or a larger GPU, or choose a "
            "smaller model"
        )
    log.info(
        "the cache holds %d tokens in blocks of %d, %s, and %s for %d requests",
        blocks * block_size,
        block_size,
        readable_bytes(blocks * block),
        readable_bytes(rings),
        sequences,
    )
    if blocks * block_size < context:
        log.warning(
            "requests are limited to %d tokens, not %d, by the cache", blocks * block_size, context
        )
    return runner(blocks)


def footprint(model: PreTrainedModel) -> Footprint:
    """Return the bytes of a sequence's ring, and of its entries for each of its tokens."""
    shape, number = compressed.shape_of(model.config), model.dtype.itemsize
    per_token = -(-shape.of_tokens(shape.stretch) * number // shape.stretch)
    return Footprint(shape.of_sequence * number, per_token)
