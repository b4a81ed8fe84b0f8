"""Which replica gets a request: the one with the fewest that have not ended."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Pool:
    """The replicas that take requests, and how many each has."""

    def __init__(self) -> None:
        self._urls: dict[int, str] = {}
        self._running: dict[int, int] = {}
        self._turn = 0
        self._turns: dict[int, int] = {}

    @property
    def requests(self) -> int:
        """How many run, on replicas that are gone too."""
        return sum(self._running.values())

    def put(self, index: int, url: str) -> None:
        """A replica takes requests."""
        self._urls[index] = url

    def drop(self, index: int) -> None:
        """A replica takes none."""
        self._urls.pop(index, None)

    def choose(self, tried: Collection[int] = ()) -> tuple[int, str] | None:
        """The replica with the fewest requests; of several the one whose last turn is longest ago.

        Args:
            tried: Replicas that could not be reached with this request.

        Returns:
            Its number and URL; None where nobody takes requests.
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
