"""Runs the models whose attention does not fit the paged cache, sequence by sequence.

Llama or Qwen with sliding windows are such models; others can have layers of any kind that
transformers has a cache for. So every sequence gets such a cache, and the chunks of a step go
through the model one after the other: slower than one row for all, but with the same scheduler,
sampler and API.

The blocks that the scheduler gives out hold nothing here; they measure. A sequence's cache may be
as large as its blocks stand for, and it is dropped when its slot or one of its blocks is given to
another sequence. So there are never more caches than slots, and all of them together never hold
more tokens than all blocks, without anybody telling when a sequence ends.
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
from deepseek_server.models.memory_budget import Beside
from deepseek_server.models.runners.sequence_cache import SequenceCache
from deepseek_server.resources import memory_available
from deepseek_server.server.lifecycle import readable_bytes

log = logging.getLogger(__name__)

BLOCK_SIZE = 16
# Sequences that should run at once: more only wait for each other, and each takes its fixed share.
SEQUENCES = 16
# A step takes memory for each of its tokens times all tokens before them.
STEP_TOKENS = {"cpu": 256, "cuda": 2048}


@dataclass(eq=False)
class _Claim:
    """What a slot and blocks stand for: the cache of a sequence, None once it was dropped."""

    cache: SequenceCache | None


class WholeRunner:
    """A model with one cache per sequence: see engine.step.Runner.

    Args:
        model: any causal language model that takes a DynamicCache of its configuration.
        num_blocks: blocks that sequences may use.
        block_size: tokens that one block stands for.
    """

    shares_prefixes = False

    def __init__(
        self, model: PreTrainedModel, num_blocks: int, block_size: int = BLOCK_SIZE
    ) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._model = model
        self._by_slot: dict[int, _Claim] = {}
        self._by_block: dict[int, _Claim] = {}
        # The token that follows in each slot, where a step has chosen it.
        self._following: dict[int, torch.Tensor] = {}
        self._sampled_slots: list[int] = []

    @property
    def device(self) -> torch.device:
        """Where the logits are."""
        return self._model.device

    @property
    def works_ahead(self) -> bool:
        """Whether the device computes while the caller goes on."""
        return bool(self.device.type == "cuda")

    def run(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Compute a step; see Runner.run.

        Raises:
            RuntimeError: a chunk goes on with a sequence whose cache was dropped.
        """
        rows = [self._cache(chunk).extend(self._tokens(chunk)) for chunk in chunks]
        sampled = [row for row, chunk in zip(rows, chunks, strict=True) if chunk.sample]
        self._sampled_slots = [chunk.slot for chunk in chunks if chunk.sample]
        return torch.cat(sampled) if sampled else rows[0][:0]

    def follow(self, tokens: torch.Tensor) -> None:
        """See Runner.follow."""
        self._following.update(zip(self._sampled_slots, tokens.unbind(), strict=True))

    def _tokens(self, chunk: Chunk) -> torch.Tensor:
        if chunk.tokens is None:
            return self._following[chunk.slot].view(1)
        return torch.tensor(chunk.tokens, dtype=torch.int64, device=self.device)

    def _cache(self, chunk: Chunk) -> SequenceCache:
        """The cache of a chunk's sequence, after whoever had its place before has lost theirs."""
        if chunk.start == 0:
            self._drop(self._by_slot.get(chunk.slot))
            self._by_slot[chunk.slot] = _Claim(SequenceCache(self._model))
        claim = self._by_slot.get(chunk.slot, _Claim(None))
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


def whole_runner(
    model: PreTrainedModel,
    *,
    context: int,
    step_tokens: int,
    sequences: int,
) -> WholeRunner:
    """Give a model room for as many cached tokens as this machine allows.

    Args:
        model: Any model that `WholeRunner` takes, on its device.
        context: Tokens of the longest sequence.
        step_tokens: Tokens of the largest step.
        sequences: Sequences that run at once at most.

    Raises:
        PermanentError: There is no memory for a cache.
    """
    device = model.device.type
    footprint = measure_cache(model)
    if device == "cuda":
        step = measure_step(model, step_tokens, context)
        torch.cuda.empty_cache()
        memory = Beside(torch.cuda.mem_get_info()[0], step).cache
    else:
        longest = footprint.of(context) + sequences * footprint.per_sequence
        memory = cpu_cache_bytes(memory_available(), longest)
    blocks = cache_blocks(footprint, memory, sequences)
    tokens = blocks * BLOCK_SIZE
    if blocks < 1:
        raise PermanentError(
            f"no memory is left for the cache of running requests ({readable_bytes(memory)}, and "
            f"{sequences} requests take {readable_bytes(sequences * footprint.per_sequence)} with "
            f"{readable_bytes(footprint.per_token * BLOCK_SIZE)} for every {BLOCK_SIZE} tokens): "
            "lower maxContext, give the pod more memory or a larger GPU, or choose a smaller model"
        )
    log.info(
        "the caches of %d requests hold %d tokens, %s (%d bytes for a request and %d for a token)",
        sequences,
        tokens,
        readable_bytes(memory),
        footprint.per_sequence,
        footprint.per_token,
    )
    if tokens < context:
        log.warning("requests are limited to %d tokens, not %d, by the cache", tokens, context)
    return WholeRunner(model, blocks)


def cache_blocks(footprint: Footprint, memory: int, sequences: int) -> int:
    """How many blocks of tokens fit beside the fixed share of every sequence.

    Args:
        footprint: What a cache takes.
        memory: Bytes for all caches.
        sequences: Sequences that run at once at most.
    """
    left = memory - sequences * footprint.per_sequence
    # Where all layers have windows, a token takes nothing once those are full.
    return max(left, 0) // (max(footprint.per_token, 1) * BLOCK_SIZE)
