"""What the next step computes.

The rule: sequences that only wait for their next token go first, so that a long prompt never holds
up a running answer; what is left of the step goes to prompts, in the order of their arrival and
piece by piece. A prompt is let in when the cache has room for all of it. When answers have grown
until no block is left, the youngest sequence gives its blocks back and returns to the head of the
queue, to be computed again later. The oldest one is therefore never held up by others, which is
why everything ends.

How much of a step prompts may take while answers run is a bargain between the two: a step with
many tokens keeps every reader waiting, a step with few keeps those waiting who have read nothing
yet. So it grows with the number of prompts that wait: a share for every few of them, up to the
whole budget.

Pure: it decides over numbers, and somebody else computes. The steps that it has decided on may
still be under way when it decides on the next one; see engine.sequence.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from deepseek_server.engine.block_manager import BlockManager
from deepseek_server.engine.runner import Chunk
from deepseek_server.engine.sequence import Sequence

S = TypeVar("S", bound=Sequence)

# So many waiting prompts for each further share of a step.
PROMPTS_PER_SHARE = 2


@dataclass(frozen=True)
class StepSize:
    """How much one step computes.

    Attributes:
        tokens: tokens at most.
        prompt_share: tokens of prompts, for every few prompts that wait, while answers run.
        sequences: sequences that run at once at most.
    """

    tokens: int
    prompt_share: int
    sequences: int


class Scheduler(Generic[S]):
    """Sequences that wait and run, both in the order of their arrival.

    Every sequence must fit the cache when it is alone in it.

    Args:
        blocks: the cache.
        size: how much one step computes.
    """

    def __init__(self, blocks: BlockManager, size: StepSize) -> None:
        self.waiting: deque[S] = deque()
        self.running: dict[S, None] = {}  # an ordered set
        self.preemptions = 0
        self.prompt_tokens = 0
        self.prompt_tokens_found = 0
        self._blocks, self._size = blocks, size
        # Each running sequence gets a token per step at least.
        self._max_sequences = min(size.sequences, size.tokens)
        self._slots = list(range(self._max_sequences - 1, -1, -1))
        self._filling: set[S] = set()  # those that run and whose prompt is not computed yet
        self._promised: dict[bytes, S] = {}  # blocks of prompts that those will compute

    def add(self, sequence: S) -> None:
        """Let a new sequence wait for its turn."""
        self.waiting.append(sequence)

    def remove(self, sequence: S) -> None:
        """Forget a sequence, wherever it is, and take its blocks back."""
        if sequence in self.running:
            del self.running[sequence]
            self._take_back(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self) -> list[tuple[S, Chunk]]:
        """The chunks of the next step; empty if all there is waits for steps under way."""
        plan = [(sequence, sequence.chunk(1)) for sequence in self._answers()]
        budget = self._prompt_budget(len(plan))
        for sequence in self.running if self._filling else ():
            if budget > 0 and sequence in self._filling:
                budget -= self._add_prompt(plan, sequence, budget)
        if budget > 0 and self.waiting:
            self._let_in(plan, budget)
        return plan

    def landed(self, sequence: S, chunk: Chunk) -> None:
        """A chunk was computed: its full blocks may be shared from now on."""
        if sequence not in self.running:
            return  # removed or preempted meanwhile
        size = self._blocks.block_size
        # What was computed may have been given up and begun again since the step was launched.
        known = min(chunk.end, sequence.computed, len(sequence.tokens))
        for number in range(sequence.published, known // size):
            key = sequence.key(number, size)
            self._blocks.publish(sequence.blocks[number], key)
            self._promised.pop(key, None)
            sequence.published = number + 1

    def _prompt_budget(self, answers: int) -> int:
        left = self._size.tokens - answers
        if not answers:
            return left
        prompts = len(self._filling) + len(self.waiting)
        shares = -(-prompts // PROMPTS_PER_SHARE)
        return min(left, shares * self._size.prompt_share)

    def _answers(self) -> Iterator[S]:
        """The sequences whose next token can be computed, each with room for it."""
        for sequence in list(self.running):
            # A younger one may have been preempted for an older one's sake.
            if (
                sequence.pending == 1
                and sequence not in self._filling
                and sequence in self.running
                and not sequence.must_wait
                and self._grow(sequence)
            ):
                yield sequence

    def _grow(self, sequence: S) -> bool:
        """Make room for the pending token; False if the sequence had to go itself."""
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
        self._take_back(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _take_back(self, sequence: S) -> None:
        self._blocks.release(sequence.blocks)
        self._slots.append(sequence.slot)
        self._filling.discard(sequence)
        for key in [key for key, owner in self._promised.items() if owner is sequence]:
            del self._promised[key]
        sequence.blocks, sequence.computed, sequence.published, sequence.slot = (), 0, 0, -1

    def _add_prompt(self, plan: list[tuple[S, Chunk]], sequence: S, budget: int) -> int:
        count = min(sequence.pending, budget)
        plan.append((sequence, sequence.chunk(count)))
        if sequence.computed == len(sequence.tokens):
            self._filling.discard(sequence)
        return count

    def _let_in(self, plan: list[tuple[S, Chunk]], budget: int) -> None:
        """Move sequences from the queue into the step as long as both have room.

        One whose prompt begins like one that is being computed waits for that, without holding up
        those behind it: the second of two equal prompts costs next to nothing then.
        """
        held: list[S] = []
        while budget > 0 and self.waiting and self._slots:
            sequence = self.waiting.popleft()
            if self._is_promised(sequence):
                held.append(sequence)
            elif self._admit(sequence):
                budget -= self._add_prompt(plan, sequence, budget)
            else:
                self.waiting.appendleft(sequence)
                break
        self.waiting.extendleft(reversed(held))

    def _is_promised(self, sequence: S) -> bool:
        """Whether somebody is computing the first block that this prompt lacks."""
        if not self._promised:
            return False
        size = self._blocks.block_size
        keys = sequence.keys((len(sequence.tokens) - 1) // size, size)
        missing = len(self._blocks.find(keys))
        return missing < len(keys) and keys[missing] in self._promised

    def _admit(self, sequence: S) -> bool:
        """Give a sequence all blocks that its tokens take, shared ones where there are some.

        Those that run already keep one block each to grow into; without that a newcomer would
        often be preempted in the next step.
        """
        if sequence.ahead:  # preempted, and its last token is still under way
            return False
        size = self._blocks.block_size
        length = len(sequence.tokens)
        # The last token is computed in any case: what follows it is wanted.
        keys = sequence.keys((length - 1) // size, size)
        found = self._blocks.find(keys)
        fresh = self._blocks.blocks_for(length) - len(found)
        left = self._blocks.available - self._blocks.unused_among(found) - fresh
        if left < len(self.running):
            return False
        self._blocks.share(found)
        taken = [block for _ in range(fresh) if (block := self._blocks.allocate()) is not None]
        sequence.blocks = (*found, *taken)
        sequence.computed, sequence.published = len(found) * size, len(found)
        sequence.slot = self._slots.pop()
        self.running[sequence] = None
        self._filling.add(sequence)
        if self._blocks.shares:
            self._promised.update((key, sequence) for key in keys[len(found) :])
        if sequence.cached is None:
            sequence.cached = sequence.computed
            self.prompt_tokens += length
            self.prompt_tokens_found += sequence.computed
        return True
