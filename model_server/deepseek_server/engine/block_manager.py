"""Which block of the cache holds what: free blocks, shared prefixes, and what is given up first.

The cache of keys and values is cut into blocks of a few tokens. A block that is full and computed
is published under a key that stands for its tokens and all tokens before them, so a later sequence
that begins alike takes it over instead of computing it again. Only published blocks are ever
shared, and nothing is written into them any more. A published block that nobody uses stays, until
its place is needed; then the one that was unused for longest goes first.

Everything here is about numbers of blocks; the tensors are the runner's.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

KEY_BYTES = 16


def block_key(before: bytes, tokens: Sequence[int]) -> bytes:
    """The key of a full block.

    A cryptographic hash, because who could make two different prompts collide would read the
    answer to somebody else's.

    Args:
        before: the key of the block before it, empty for the first one.
        tokens: the tokens of the block.
    """
    return blake2b(before + array("q", tokens).tobytes(), digest_size=KEY_BYTES).digest()


class BlockManager:
    """Gives out the blocks of one cache; each call costs the same however large the cache is.

    Args:
        num_blocks: blocks of the cache.
        block_size: tokens of one block.
        shares: whether a block can serve several sequences; if not, nothing is ever found.
    """

    def __init__(self, num_blocks: int, block_size: int, *, shares: bool = True) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"no cache: {num_blocks} blocks of {block_size} tokens")
        self.num_blocks, self.block_size, self.shares = num_blocks, block_size, shares
        self._users = [0] * num_blocks
        self._empty = list(range(num_blocks - 1, -1, -1))
        self._unused: OrderedDict[int, None] = OrderedDict()  # published, oldest first
        self._published: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}

    @property
    def available(self) -> int:
        """Blocks that can be had, the unused ones with old contents among them."""
        return len(self._empty) + len(self._unused)

    @property
    def use(self) -> float:
        """The share of the blocks that sequences hold, 0 to 1."""
        return 1 - self.available / self.num_blocks

    def blocks_for(self, tokens: int) -> int:
        """How many blocks so many tokens take."""
        return -(-tokens // self.block_size)

    def find(self, keys: Iterable[bytes]) -> list[int]:
        """The blocks that hold the longest published beginning of a chain of keys."""
        found: list[int] = []
        for key in keys:
            block = self._published.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def unused_among(self, blocks: Iterable[int]) -> int:
        """How many of these blocks count as available as long as nobody takes them."""
        return sum(block in self._unused for block in blocks)

    def share(self, blocks: Iterable[int]) -> None:
        """Use published blocks that `find` has found, together with whoever uses them."""
        for block in blocks:
            if block not in self._keys:
                raise ValueError(f"block {block} is not published")
            self._unused.pop(block, None)
            self._users[block] += 1

    def allocate(self) -> int | None:
        """A block to write into, or None if all are in use."""
        if self._empty:
            block = self._empty.pop()
        elif self._unused:
            block, _ = self._unused.popitem(last=False)
            del self._published[self._keys.pop(block)]
        else:
            return None
        self._users[block] = 1
        return block

    def publish(self, block: int, key: bytes) -> None:
        """Offer a full block, which its user has computed and leaves as it is from now on.

        Where another block holds the same already, that one stays the one that is found.
        """
        if self._users[block] == 0:
            raise ValueError(f"block {block} is nobody's")
        if self.shares and key not in self._published and block not in self._keys:
            self._published[key] = block
            self._keys[block] = key

    def release(self, blocks: Sequence[int]) -> None:
        """Use these blocks no longer.

        The end of a chain is of no use without its beginning, so it is given up first.
        """
        for block in reversed(blocks):
            if self._users[block] == 0:
                raise ValueError(f"block {block} was released already")
            self._users[block] -= 1
            if self._users[block] == 0:
                if block in self._keys:
                    self._unused[block] = None
                else:
                    self._empty.append(block)
