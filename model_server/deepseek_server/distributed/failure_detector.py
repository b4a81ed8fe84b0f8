"""Heartbeat timeouts of ranks. Pure: callers pass the time."""

from collections.abc import Iterable

# Number of heartbeats within the timeout, so that some may be late.
_HEARTBEATS_PER_TIMEOUT = 6


class FailureDetector:
    """The time of the last heartbeat of each rank.

    Args:
        ranks: the ranks to watch.
        timeout: seconds without a heartbeat after which a rank is lost.
        now: the current time of a monotonic clock, in seconds.
    """

    def __init__(self, ranks: Iterable[int], timeout: float, now: float) -> None:
        self._timeout, self._last_check = timeout, now
        self._last_heartbeat = dict.fromkeys(ranks, now)

    @property
    def period(self) -> float:
        """Seconds between two heartbeats."""
        return self._timeout / _HEARTBEATS_PER_TIMEOUT

    def record_heartbeat(self, rank: int, now: float) -> None:
        """Record a heartbeat of a rank."""
        if rank in self._last_heartbeat:
            self._last_heartbeat[rank] = now

    def forget(self, rank: int) -> None:
        """Stop watching a rank, which has left."""
        self._last_heartbeat.pop(rank, None)

    def lost(self, now: float) -> int | None:
        """Return a rank without a heartbeat for too long, if there is one.

        If this process itself was paused (a stopped process, a migrated machine), all timeouts
        restart, because it could not receive heartbeats.
        """
        was_paused, self._last_check = now - self._last_check > self._timeout / 2, now
        if was_paused:
            self._last_heartbeat = dict.fromkeys(self._last_heartbeat, now)
            return None
        late = (rank for rank, last in self._last_heartbeat.items() if now - last > self._timeout)
        return min(late, default=None)
