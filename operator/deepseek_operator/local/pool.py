"""Load balancing by least outstanding requests."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Pool:
    """The ready replicas and their numbers of running requests."""

    def __init__(self) -> None:
        self._urls: dict[int, str] = {}
        self._running: dict[int, int] = {}
        self._turn = 0
        self._turns: dict[int, int] = {}

    @property
    def requests(self) -> int:
        """Number of running requests, including those on removed replicas."""
        return sum(self._running.values())

    def put(self, index: int, url: str) -> None:
        """Add a replica, or update its URL."""
        self._urls[index] = url

    def drop(self, index: int) -> None:
        """Remove a replica; its running requests still count."""
        self._urls.pop(index, None)

    def choose(self, tried: Collection[int] = ()) -> tuple[int, str] | None:
        """Choose the replica with the fewest requests; among equals the least recently chosen one.

        Args:
            tried: Replicas to which this request could not connect.

        Returns:
            Its index and URL; None if no replica is available.
        """
        able = [index for index in self._urls if index not in tried]
        if not able:
            return None
        best = min(able, key=lambda index: (self._running.get(index, 0), self._turns.get(index, 0)))
        self._turn += 1
        self._turns[best] = self._turn
        return best, self._urls[best]

    @contextmanager
    def running(self, index: int) -> Iterator[None]:
        """Count a request while it runs."""
        self._running[index] = self._running.get(index, 0) + 1
        try:
            yield
        finally:
            self._running[index] -= 1
