"""Locations of a step's tokens, and the entries that they complete; computed on the CPU.

A sequence's last tokens are in a ring buffer, at their position modulo its size. A layer reads the
tokens before a chunk from the ring buffer before it overwrites them with those of the chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from deepseek_server.engine.runner import Chunk

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Origin:
    """The chunk of each token, either of the step or of an entry.

    Attributes:
        begin: Row in the step of the chunk's first token: [n].
        start: Position of that token in its sequence: [n].
        request_index: Number of the sequence among the running ones: [n].
    """

    begin: Int64
    start: Int64
    request_index: Int64


class Step:
    """The chunks of a step as arrays.

    Args:
        chunks: In the order of their rows.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        lengths = [len(chunk) for chunk in chunks]
        self._lengths = np.array(lengths, np.int64)
        self._begin = np.array([0, *accumulate(lengths)][:-1], np.int64)
        self._start = np.array([chunk.start for chunk in chunks], np.int64)
        self._request_index = np.array([chunk.request_index for chunk in chunks], np.int64)
        # Chunk index and position of each token.
        self.chunk = np.repeat(np.arange(len(chunks)), self._lengths)
        self.rows = np.arange(len(self.chunk))
        self.positions = self.rows + np.repeat(self._start - self._begin, self._lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(chunk.end for chunk in self._chunks)

    @property
    def origin(self) -> Origin:
        """The origin of each token."""
        return self._origin(self.chunk)

    def ring(self, size: int) -> tuple[Int64, Int64]:
        """Return the rows to store in a ring buffer after the step, and their indices in it.

        Args:
            size: Tokens of the ring buffer of one request.
        """
        end = np.repeat(self._start + self._lengths, self._lengths)
        rows = self.rows[self.positions >= end - size]
        indices = self._request_index[self.chunk[rows]] * size + self.positions[rows] % size
        return rows, indices

    def completed(self, rate: int, block_size: int) -> tuple[Int64, Int64, Origin]:
        """Return the entries whose last token is in the step.

        Args:
            rate: Tokens per entry.
            block_size: Tokens per block, a multiple of `rate`.

        Returns:
            Position of each entry's first token; its index in the cache, counted in entries; and
            the chunk that completes it.
        """
        first = self._start // rate
        counts = (self._start + self._lengths) // rate - first
        chunk = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts)
        entries = first[chunk] + within
        per_block = block_size // rate
        table = self.table(0)
        indices = table[chunk, entries // per_block] * per_block + entries % per_block
        return entries * rate, indices, self._origin(chunk)

    def table(self, spare: int) -> Int64:
        """Return the block table of the chunks, padded with the spare block: [chunks, blocks]."""
        most = max(len(chunk.blocks) for chunk in self._chunks)
        table = np.full((len(self._chunks), most), spare, np.int64)
        for line, chunk in zip(table, self._chunks, strict=True):
            line[: len(chunk.blocks)] = chunk.blocks
        return table

    def _origin(self, chunk: Int64) -> Origin:
        return Origin(self._begin[chunk], self._start[chunk], self._request_index[chunk])
