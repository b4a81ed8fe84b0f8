"""Scheduler: selects what the next step computes.

Decoding sequences go first, so that a long prompt never blocks a running answer. The rest of the step
goes to prefill, in the order of arrival and in chunks. A prompt is admitted when the KV cache has room
for all of it. When decoding needs a block and none is left, the youngest sequence is preempted: it
frees its blocks and returns to the head of the queue, to be computed again later. The oldest sequence
is therefore never blocked by others, which guarantees that every request ends.

The prefill budget of a step is a compromise while sequences decode: steps with many tokens delay all
running answers, steps with few delay the first tokens of new ones. So the budget grows with the number
of prompts: one share for every few of them, up to the whole step.

The scheduler only does bookkeeping; the runner computes. Scheduled steps may still be in flight when
the next one is scheduled; see engine.sequence.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from deepseek_server.engine.block_manager import BlockManager
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.sequence import Sequence

S = TypeVar("S", bound=Sequence)

# Number of prompts for each further share of a step.
PROMPTS_PER_PREFILL_SHARE = 2


@dataclass(frozen=True)
class StepLimits:
    """The limits of one step.

    Attributes:
        max_num_batched_tokens: maximum number of tokens.
        prefill_share: prefill tokens for every PROMPTS_PER_PREFILL_SHARE prompts, while sequences decode.
        max_num_seqs: maximum number of running sequences.
    """

    max_num_batched_tokens: int
    prefill_share: int
    max_num_seqs: int


class Scheduler(Generic[S]):
    """Waiting and running sequences, both in the order of their arrival.

    Every sequence must fit into the KV cache if it is alone.

    Args:
        blocks: the blocks of the KV cache.
        limits: the limits of one step.
    """

    def __init__(self, blocks: BlockManager, limits: StepLimits) -> None:
        self.waiting: deque[S] = deque()
        self.running: dict[S, None] = {}  # an ordered set
        self.preemptions = 0
        self.prompt_tokens = 0
        self.prompt_tokens_found = 0
        self._blocks, self._limits = blocks, limits
        # Each running sequence needs at least one token per step.
        self._max_num_seqs = min(limits.max_num_seqs, limits.max_num_batched_tokens)
        self._free_request_indices = list(range(self._max_num_seqs - 1, -1, -1))
        self._prefilling: set[S] = set()  # running sequences in prefill
        # Sequences that will compute prefix blocks, by the key of the block.
        self._pending_prefix_blocks: dict[bytes, S] = {}

    def add(self, sequence: S) -> None:
        """Queue a new sequence."""
        self.waiting.append(sequence)

    def remove(self, sequence: S) -> None:
        """Remove a waiting or running sequence and free its blocks."""
        if sequence in self.running:
            del self.running[sequence]
            self._reset(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self) -> list[tuple[S, Chunk]]:
        """Return the chunks of the next step; empty if all sequences wait for steps in flight."""
        plan = [(sequence, sequence.chunk(1)) for sequence in self._decoding()]
        budget = self._prefill_budget(len(plan))
        for sequence in self.running if self._prefilling else ():
            if budget > 0 and sequence in self._prefilling:
                budget -= self._add_prefill(plan, sequence, budget)
        if budget > 0 and self.waiting:
            self._admit_waiting(plan, budget)
        return plan

    def postprocess(self, sequence: S, chunk: Chunk) -> None:
        """Record that a chunk has been computed, and cache its full blocks."""
        if sequence not in self.running:
            return  # removed or preempted meanwhile
        size = self._blocks.block_size
        # The sequence may have been preempted and admitted again since the step was launched.
        known = min(chunk.end, sequence.num_computed_tokens, len(sequence.tokens))
        for number in range(sequence.num_cached_blocks, known // size):
            key = sequence.key(number, size)
            self._blocks.cache_block(sequence.blocks[number], key)
            self._pending_prefix_blocks.pop(key, None)
            sequence.num_cached_blocks = number + 1

    def _prefill_budget(self, num_decode_tokens: int) -> int:
        left = self._limits.max_num_batched_tokens - num_decode_tokens
        if not num_decode_tokens:
            return left
        prompts = len(self._prefilling) + len(self.waiting)
        shares = -(-prompts // PROMPTS_PER_PREFILL_SHARE)
        return min(left, shares * self._limits.prefill_share)

    def _decoding(self) -> Iterator[S]:
        """Yield the sequences that can decode their next token, each with a block for it."""
        for sequence in list(self.running):
            # A younger one may have been preempted for an older one.
            if (
                sequence.pending == 1
                and sequence not in self._prefilling
                and sequence in self.running
                and not sequence.must_wait
                and self._grow(sequence)
            ):
                yield sequence

    def _grow(self, sequence: S) -> bool:
        """Allocate a block for the pending token; return False if the sequence was preempted."""
        if self._blocks.blocks_for(sequence.length) <= len(sequence.blocks):
            return True
        while (block := self._blocks.allocate()) is None:
            youngest = next(reversed(self.running))
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.blocks += (block,)
        return True

    def _preempt(self, sequence: S) -> None:
        del self.running[sequence]
        self._reset(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _reset(self, sequence: S) -> None:
        self._blocks.release(sequence.blocks)
        self._free_request_indices.append(sequence.request_index)
        self._prefilling.discard(sequence)
        for key in [key for key, owner in self._pending_prefix_blocks.items() if owner is sequence]:
            del self._pending_prefix_blocks[key]
        sequence.blocks, sequence.request_index = (), -1
        sequence.num_computed_tokens = sequence.num_cached_blocks = 0

    def _add_prefill(self, plan: list[tuple[S, Chunk]], sequence: S, budget: int) -> int:
        count = min(sequence.pending, budget)
        plan.append((sequence, sequence.chunk(count)))
        if sequence.num_computed_tokens == len(sequence.tokens):
            self._prefilling.discard(sequence)
        return count

    def _admit_waiting(self, plan: list[tuple[S, Chunk]], budget: int) -> None:
        """Admit waiting sequences while the step and the cache have room.

        A sequence whose prefix is being computed by another one waits for it, without blocking those
        behind it: the second of two equal prompts then costs almost nothing.
        """
        held: list[S] = []
        while budget > 0 and self.waiting and self._free_request_indices:
            sequence = self.waiting.popleft()
            if self._awaits_pending_prefix(sequence):
                held.append(sequence)
            elif self._admit(sequence):
                budget -= self._add_prefill(plan, sequence, budget)
            else:
                self.waiting.appendleft(sequence)
                break
        self.waiting.extendleft(reversed(held))

    def _awaits_pending_prefix(self, sequence: S) -> bool:
        """Return whether another sequence is computing the first block that this prompt lacks."""
        if not self._pending_prefix_blocks:
            return False
        size = self._blocks.block_size
        keys = sequence.keys((len(sequence.tokens) - 1) // size, size)
        missing = len(self._blocks.find(keys))
        return missing < len(keys) and keys[missing] in self._pending_prefix_blocks

    def _admit(self, sequence: S) -> bool:
        """Allocate all blocks for a sequence's tokens, reusing cached ones; return False if it must wait.

        One block per running sequence stays free for decoding; otherwise a new sequence would often
        be preempted in the next step.
        """
        if sequence.num_unresolved_tokens:  # preempted, and its last token is still in flight
            return False
        size = self._blocks.block_size
        length = len(sequence.tokens)
        # The last token is always computed, because its logits are needed.
        keys = sequence.keys((length - 1) // size, size)
        found = self._blocks.find(keys)
        fresh = self._blocks.blocks_for(length) - len(found)
        left = self._blocks.available - self._blocks.count_evictable(found) - fresh
        if left < len(self.running):
            return False
        self._blocks.share(found)
        taken = [block for _ in range(fresh) if (block := self._blocks.allocate()) is not None]
        sequence.blocks = (*found, *taken)
        sequence.num_computed_tokens, sequence.num_cached_blocks = len(found) * size, len(found)
        sequence.request_index = self._free_request_indices.pop()
        self.running[sequence] = None
        self._prefilling.add(sequence)
        if self._blocks.shares:
            self._pending_prefix_blocks.update((key, sequence) for key in keys[len(found) :])
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = sequence.num_computed_tokens
            self.prompt_tokens += length
            self.prompt_tokens_found += sequence.num_computed_tokens
        return True
