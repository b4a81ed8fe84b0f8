"""The block manager against a simple model, with random operations."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deepseek_server.engine.block_manager import BlockManager, block_key

SIZE = 2


def keys(tokens: list[int]) -> list[bytes]:
    chain: list[bytes] = []
    for start in range(0, len(tokens) - len(tokens) % SIZE, SIZE):
        chain.append(block_key(chain[-1] if chain else b"", tokens[start : start + SIZE]))
    return chain


@dataclass
class Holder:
    """A sequence that holds blocks, the first of which are cached."""

    tokens: list[int]
    blocks: list[int] = field(default_factory=list)
    num_cached_blocks: int = 0


class Blocks(RuleBasedStateMachine):
    """Sequences of two tokens, so that many share prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = BlockManager(9, SIZE)
        self.holders: list[Holder] = []
        self.contents: dict[int, list[int]] = {}  # cached block -> all tokens up to its end

    @rule(tokens=st.lists(st.integers(0, 1), min_size=SIZE, max_size=8))
    def begin(self, tokens: list[int]) -> None:
        found = self.manager.find(keys(tokens))
        for number, block in enumerate(found, start=1):
            assert self.contents[block] == tokens[: number * SIZE]
        missing = tokens[: (len(found) + 1) * SIZE]
        if len(missing) == (len(found) + 1) * SIZE:
            assert missing not in self.contents.values()
        self.manager.share(found)
        self.holders.append(Holder(list(tokens), found, len(found)))

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def allocate(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(self.holders))
        available = self.manager.available
        block = self.manager.allocate()
        assert (block is None) == (available == 0)
        if block is not None:
            assert all(block not in other.blocks for other in self.holders)
            self.contents.pop(block, None)
            holder.blocks.append(block)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def cache_block(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(self.holders))
        chain = keys(holder.tokens)
        if holder.num_cached_blocks < min(len(holder.blocks), len(chain)):
            block, key = holder.blocks[holder.num_cached_blocks], chain[holder.num_cached_blocks]
            holder.num_cached_blocks += 1
            tokens = holder.tokens[: holder.num_cached_blocks * SIZE]
            if tokens not in self.contents.values():
                self.contents[block] = tokens
            self.manager.cache_block(block, key)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(self.holders))
        self.holders.remove(holder)
        self.manager.release(holder.blocks)

    @invariant()
    def nothing_leaks(self) -> None:
        held = {block for holder in self.holders for block in holder.blocks}
        assert self.manager.available + len(held) == self.manager.num_blocks
        assert self.manager.use == pytest.approx(len(held) / self.manager.num_blocks)

    @invariant()
    def only_cached_blocks_are_shared(self) -> None:
        seen: set[int] = set()
        for holder in self.holders:
            for number, block in enumerate(holder.blocks):
                if block in seen:
                    assert number < holder.num_cached_blocks
                    assert block in self.contents
            seen.update(holder.blocks)


TestBlocks = Blocks.TestCase
TestBlocks.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_eviction_is_least_recently_used_and_from_the_end_of_a_chain() -> None:
    manager = BlockManager(4, SIZE)
    old, new = keys([1, 1, 2, 2]), keys([3, 3, 4, 4])
    for chain in (old, new):
        blocks = [manager.allocate(), manager.allocate()]
        for block, key in zip(blocks, chain, strict=True):
            manager.cache_block(block, key)
        manager.release(blocks)
    manager.allocate()
    assert (len(manager.find(old)), len(manager.find(new))) == (1, 2)
    manager.allocate()
    assert (len(manager.find(old)), len(manager.find(new))) == (0, 2)
    manager.allocate()
    assert len(manager.find(new)) == 1


def test_misuse_is_an_error() -> None:
    manager = BlockManager(2, SIZE)
    block = manager.allocate()
    with pytest.raises(ValueError, match="not cached"):
        manager.share([block])
    manager.release([block])
    with pytest.raises(ValueError, match="released already"):
        manager.release([block])
    with pytest.raises(ValueError, match="not allocated"):
        manager.cache_block(block, b"key")
    with pytest.raises(ValueError, match="empty KV cache"):
        BlockManager(0, SIZE)


def test_a_key_covers_the_whole_prefix() -> None:
    assert keys([1, 1, 2, 2])[1] != keys([3, 3, 2, 2])[1]
    assert keys([1, 1, 2, 2, 5]) == keys([1, 1, 2, 2])


def test_a_cache_without_prefix_sharing_finds_no_blocks() -> None:
    manager = BlockManager(4, SIZE, shares=False)
    (key,) = keys([1, 2])
    block = manager.allocate()
    assert block is not None
    manager.cache_block(block, key)
    assert manager.find([key]) == []
    manager.release([block])
    assert manager.available == 4
