"""What the next step computes.

The rule: sequences that only wait for their next token go first, so that a long prompt never holds
up a running answer; what is left of the step's budget of tokens goes to prompts, in the order of
their arrival and piece by piece. A prompt is let in when the cache has room for all of it. When
answers have grown until no block is left, the youngest sequence gives its blocks back and returns
to the head of the queue, to be computed again later. The oldest one is therefore never held up by
others, which is why everything ends.

Pure: it decides over numbers, and somebody else computes.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from deepseek_server.engine.blocks import BlockManager
from deepseek_server.engine.sequence import Sequence
from deepseek_server.engine.step import Chunk

S = TypeVar("S", bound=Sequence)


class Scheduler(Generic[S]):
    """Sequences that wait and run, both in the order of their arrival.

    Every sequence must fit the cache when it is alone in it.

    Args:
        blocks: the cache.
        token_budget: tokens that one step computes at most.
        max_sequences: sequences that run at once at most.
    """

    def __init__(self, blocks: BlockManager, *, token_budget: int, max_sequences: int) -> None:
        self.waiting: deque[S] = deque()
        self.running: dict[S, None] = {}  # an ordered set
        self.preemptions = 0
        self.prompt_tokens = 0
        self.prompt_tokens_found = 0
        self._blocks = blocks
        self._token_budget = token_budget
        # Each running sequence gets a token per step at least.
        self._max_sequences = min(max_sequences, token_budget)

    def add(self, sequence: S) -> None:
        """Let a new sequence wait for its turn."""
        self.waiting.append(sequence)

    def remove(self, sequence: S) -> None:
        """Forget a sequence, wherever it is, and take its blocks back."""
        if sequence in self.running:
            del self.running[sequence]
            self._take_blocks(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self) -> list[tuple[S, Chunk]]:
        """The chunks of the next step; empty only if there is no sequence at all."""
        plan = [(sequence, sequence.chunk(1)) for sequence in self._answers()]
        budget = self._token_budget - len(plan)
        for sequence in self.running:
            if budget and sequence.pending > 1:
                budget -= self._add_prompt(plan, sequence, budget)
        while budget and self.waiting and len(self.running) < self._max_sequences:
            if not self._admit(self.waiting[0]):
                break
            sequence = self.waiting.popleft()
            self.running[sequence] = None
            budget -= self._add_prompt(plan, sequence, budget)
        return plan

    def computed(self, sequence: S, chunk: Chunk) -> None:
        """A chunk was computed: its full blocks may be shared from now on."""
        if sequence not in self.running:
            return  # removed meanwhile
        size = self._blocks.block_size
        first_block = sequence.computed // size
        sequence.computed += len(chunk.tokens)
        for number in range(first_block, sequence.computed // size):
            self._blocks.publish(sequence.blocks[number], sequence.key(number, size))

    def _answers(self) -> Iterator[S]:
        """The sequences whose next token can be computed, each with room for it."""
        for sequence in list(self.running):
            # A younger one may have been preempted for an older one's sake.
            if sequence in self.running and sequence.pending == 1 and self._grow(sequence):
                yield sequence

    def _grow(self, sequence: S) -> bool:
        """Make room for the pending token; False if the sequence had to go itself."""
        if self._blocks.blocks_for(len(sequence.tokens)) <= len(sequence.blocks):
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
        self._take_blocks(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _take_blocks(self, sequence: S) -> None:
        self._blocks.release(sequence.blocks)
        sequence.blocks, sequence.computed = (), 0

    def _add_prompt(self, plan: list[tuple[S, Chunk]], sequence: S, budget: int) -> int:
        count = min(sequence.pending, budget)
        plan.append((sequence, sequence.chunk(count)))
        return count

    def _admit(self, sequence: S) -> bool:
        """Give a sequence all blocks that its tokens take, shared ones where there are some.

        Those that run already keep one block each to grow into; without that a newcomer would
        often be preempted in the next step.
        """
        size = self._blocks.block_size
        length = len(sequence.tokens)
        # The last token is computed in any case: what follows it is wanted.
        found = self._blocks.find(sequence.keys((length - 1) // size, size))
        fresh = self._blocks.blocks_for(length) - len(found)
        left = self._blocks.available - self._blocks.unused_among(found) - fresh
        if left < len(self.running):
            return False
        self._blocks.share(found)
        taken = [block for _ in range(fresh) if (block := self._blocks.allocate()) is not None]
        sequence.blocks = (*found, *taken)
        sequence.computed = len(found) * size
        if sequence.cached is None:
            sequence.cached = sequence.computed
            self.prompt_tokens += length
            self.prompt_tokens_found += sequence.computed
        return True
