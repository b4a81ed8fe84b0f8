"""The sequential runner, for models whose attention the paged cache does not support.

Examples are Llama or Qwen with sliding windows; other models may have layers of any kind that
transformers has a cache for. Every sequence gets such a cache, and the chunks of a step go through
the model one after the other: slower than a packed batch, but with the same scheduler, sampler and
API.

The scheduler's blocks hold no data here; they only account for memory. A sequence's cache may hold
as many tokens as its blocks, and it is dropped when its request index or one of its blocks is assigned to
another sequence. So there are never more caches than running requests, and together they never hold
more tokens than all blocks, although the runner is not notified when a sequence ends.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from deepseek_server.engine.runner import Chunk
from deepseek_server.errors import PermanentError
from deepseek_server.models.capacity import cpu_cache_bytes
from deepseek_server.models.footprint import Footprint, measure_cache, measure_step
from deepseek_server.models.memory_budget import MemoryBudget
from deepseek_server.models.runners.sequence_cache import SequenceCache
from deepseek_server.resources import memory_available
from deepseek_server.server.lifecycle import readable_bytes

log = logging.getLogger(__name__)

BLOCK_SIZE = 16
# Sequences that run at once: more would only wait for each other, and each needs a fixed share of
# the memory.
MAX_NUM_SEQS = 16
# The memory of a step grows with its tokens times all tokens before them.
MAX_NUM_BATCHED_TOKENS = {"cpu": 256, "cuda": 2048}


@dataclass(eq=False)
class _Claim:
    """The cache of the sequence that owns a request index and blocks; None after it was dropped."""

    cache: SequenceCache | None


class SequentialRunner:
    """A model with one cache per sequence: see engine.runner.Runner.

    Args:
        model: any causal language model that accepts a DynamicCache of its configuration.
        num_blocks: blocks that sequences may use.
        block_size: tokens that one block accounts for.
    """

    shares_prefixes = False

    def __init__(
        self, model: PreTrainedModel, num_blocks: int, block_size: int = BLOCK_SIZE
    ) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._model = model
        self._by_request: dict[int, _Claim] = {}
        self._by_block: dict[int, _Claim] = {}
        # The next token by request index, where a step has sampled it.
        self._sampled_tokens: dict[int, torch.Tensor] = {}
        self._sampled_request_indices: list[int] = []

    @property
    def device(self) -> torch.device:
        """Device of the logits."""
        return self._model.device

    @property
    def overlap_scheduling(self) -> bool:
        """Whether the device computes asynchronously."""
        return bool(self.device.type == "cuda")

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step; see Runner.run.

        Raises:
            RuntimeError: a chunk continues a sequence whose cache was dropped.
        """
        rows = [self._cache(chunk).extend(self._tokens(chunk)) for chunk in chunks]
        sampled = [row for row, chunk in zip(rows, chunks, strict=True) if chunk.sample]
        self._sampled_request_indices = [chunk.request_index for chunk in chunks if chunk.sample]
        return torch.cat(sampled) if sampled else rows[0][:0]

    def store_sampled_tokens(self, tokens: torch.Tensor) -> None:
        """See Runner.store_sampled_tokens."""
        self._sampled_tokens.update(
            zip(self._sampled_request_indices, tokens.unbind(), strict=True)
        )

    def _tokens(self, chunk: Chunk) -> torch.Tensor:
        if chunk.tokens is None:
            return self._sampled_tokens[chunk.request_index].view(1)
        return torch.tensor(chunk.tokens, dtype=torch.int64, device=self.device)

    def _cache(self, chunk: Chunk) -> SequenceCache:
        """Return the cache of a chunk's sequence.

        The caches of previous owners of its request index and blocks are dropped.
        """
        if chunk.start == 0:
            self._drop(self._by_request.get(chunk.request_index))
            self._by_request[chunk.request_index] = _Claim(SequenceCache(self._model))
        claim = self._by_request.get(chunk.request_index, _Claim(None))
        for block in chunk.blocks:
            before = self._by_block.get(block)
            if before is not claim:
                self._drop(before)
                self._by_block[block] = claim
        if claim.cache is None or claim.cache.length != chunk.start:
            raise RuntimeError(f"the cache of the {chunk.start} tokens before a chunk is gone")
        return claim.cache

    def _drop(self, claim: _Claim | None) -> None:
        if claim is not None:
            claim.cache = None


def sequential_runner(
    model: PreTrainedModel,
    *,
    context: int,
    max_num_batched_tokens: int,
    max_num_seqs: int,
) -> SequentialRunner:
    """Return a runner for a model with the largest caches that this machine allows.

    Args:
        model: Any model that `SequentialRunner` accepts, on its device.
        context: Tokens of the longest sequence.
        max_num_batched_tokens: Tokens of the largest step.
        max_num_seqs: Maximum number of sequences that run at once.

    Raises:
        PermanentError: There is no memory for a cache.
    """
    device = model.device.type
    footprint = measure_cache(model)
    if device == "cuda":
        step = measure_step(model, max_num_batched_tokens, context)
        torch.cuda.empty_cache()
        memory = MemoryBudget(torch.cuda.mem_get_info()[0], step).cache
    else:
        longest = footprint.of(context) + max_num_seqs * footprint.per_sequence
        memory = cpu_cache_bytes(memory_available(), longest)
    blocks = cache_blocks(footprint, memory, max_num_seqs)
    tokens = blocks * BLOCK_SIZE
    if blocks < 1:
        raise PermanentError(
            f"no memory is left for the KV cache ({readable_bytes(memory)} available; {max_num_seqs} "
            f"requests need {readable_bytes(max_num_seqs * footprint.per_sequence)}, plus "
            f"{readable_bytes(footprint.per_token * BLOCK_SIZE)} per {BLOCK_SIZE} tokens): "
            "lower maxContext, give the pod more memory or a larger GPU, or choose a smaller model"
        )
    log.info(
        "KV caches of %d requests: %d tokens, %s (%d bytes per request and %d per token)",
        max_num_seqs,
        tokens,
        readable_bytes(memory),
        footprint.per_sequence,
        footprint.per_token,
    )
    if tokens < context:
        log.warning("the KV cache limits requests to %d tokens; the context is %d", tokens, context)
    return SequentialRunner(model, blocks)


def cache_blocks(footprint: Footprint, memory: int, max_num_seqs: int) -> int:
    """Return the number of blocks that fit beside the fixed memory of every sequence.

    Args:
        footprint: Size of a sequence's cache.
        memory: Bytes for all caches.
        max_num_seqs: Maximum number of sequences that run at once.
    """
    left = memory - max_num_seqs * footprint.per_sequence
    # If all layers have windows, a token needs no memory once those are full.
    return max(left, 0) // (max(footprint.per_token, 1) * BLOCK_SIZE)
