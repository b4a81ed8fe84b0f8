"""Block manager of the KV cache: free blocks, prefix sharing and eviction.

The KV cache is divided into blocks of a few tokens. A full, computed block is cached under a key of
its tokens and all tokens before them, so that a later sequence with the same prefix reuses it. Only
cached blocks are shared, and they are never written again. A cached block without references stays
until its memory is needed; the least recently used one is evicted first.

This module only handles block numbers; the runner has the tensors.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

KEY_BYTES = 16


def block_key(before: bytes, tokens: Sequence[int]) -> bytes:
    """Return the key of a full block.

    A cryptographic hash, because a client that could make two prompts collide could read the answer to
    another client's prompt.

    Args:
        before: the key of the previous block, empty for the first one.
        tokens: the tokens of the block.
    """
    return blake2b(before + array("q", tokens).tobytes(), digest_size=KEY_BYTES).digest()


class BlockManager:
    """Allocator of the blocks of one KV cache; the cost of a call does not depend on its size.

    Args:
        num_blocks: number of blocks.
        block_size: tokens per block.
        shares: whether sequences can share blocks; if not, `find` returns none.
    """

    def __init__(self, num_blocks: int, block_size: int, *, shares: bool = True) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"empty KV cache: {num_blocks} blocks of {block_size} tokens")
        self.num_blocks, self.block_size, self.shares = num_blocks, block_size, shares
        self._ref_counts = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._evictable: OrderedDict[int, None] = (
            OrderedDict()
        )  # cached, without references, oldest first
        self._cached: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Number of blocks that can be allocated, including cached ones without references."""
        return len(self._free) + len(self._evictable)

    @property
    def use(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1."""
        return 1 - self.available / self.num_blocks

    def blocks_for(self, tokens: int) -> int:
        """Return the number of blocks for a number of tokens."""
        return -(-tokens // self.block_size)

    def find(self, keys: Iterable[bytes]) -> list[int]:
        """Return the blocks of the longest cached prefix of a chain of keys."""
        found: list[int] = []
        for key in keys:
            block = self._cached.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def count_evictable(self, blocks: Iterable[int]) -> int:
        """Return how many of these blocks have no reference and count as available."""
        return sum(block in self._evictable for block in blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Add a reference to cached blocks that `find` has returned."""
        for block in blocks:
            if block not in self._keys:
                raise ValueError(f"block {block} is not cached")
            self._evictable.pop(block, None)
            self._ref_counts[block] += 1

    def allocate(self) -> int | None:
        """Return a block to write into, or None if all are in use."""
        if self._free:
            block = self._free.pop()
        elif self._evictable:
            block, _ = self._evictable.popitem(last=False)
            del self._cached[self._keys.pop(block)]
        else:
            return None
        self._ref_counts[block] = 1
        return block

    def cache_block(self, block: int, key: bytes) -> None:
        """Cache a full block, which its sequence has computed and will not change any more.

        If another block with the same key is already cached, that one stays.
        """
        if self._ref_counts[block] == 0:
            raise ValueError(f"block {block} is not allocated")
        if self.shares and key not in self._cached and block not in self._keys:
            self._cached[key] = block
            self._keys[block] = key

    def release(self, blocks: Sequence[int]) -> None:
        """Remove a reference from these blocks.

        The end of a chain is useless without its beginning, so it is evicted first.
        """
        for block in reversed(blocks):
            if self._ref_counts[block] == 0:
                raise ValueError(f"block {block} was released already")
            self._ref_counts[block] -= 1
            if self._ref_counts[block] == 0:
                if block in self._keys:
                    self._evictable[block] = None
                else:
                    self._free.append(block)
