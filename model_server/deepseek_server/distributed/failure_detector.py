"""Heartbeat timeouts of ranks. Pure: callers pass the time."""

from collections.abc import Iterable

# Number of heartbeats within the timeout, so that some may be late.
_BEATS = 6


class Pulse:
    """The time of the last heartbeat of each rank.

    Args:
        ranks: the ranks to watch.
        silence: seconds without a heartbeat after which a rank is lost.
        now: the current time of a monotonic clock, in seconds.
    """

    def __init__(self, ranks: Iterable[int], silence: float, now: float) -> None:
        self._silence, self._looked = silence, now
        self._heard = dict.fromkeys(ranks, now)

    @property
    def period(self) -> float:
        """Seconds between two heartbeats."""
        return self._silence / _BEATS

    def heard(self, rank: int, now: float) -> None:
        """Record a heartbeat of a rank."""
        if rank in self._heard:
            self._heard[rank] = now

    def forget(self, rank: int) -> None:
        """Stop watching a rank, which has left."""
        self._heard.pop(rank, None)

    def lost(self, now: float) -> int | None:
        """Return a rank without a heartbeat for too long, if there is one.

        If this process itself was paused (a stopped process, a migrated machine), all timeouts
        restart, because it could not receive heartbeats.
        """
        slept, self._looked = now - self._looked > self._silence / 2, now
        if slept:
            self._heard = dict.fromkeys(self._heard, now)
            return None
        late = (rank for rank, heard in self._heard.items() if now - heard > self._silence)
        return min(late, default=None)
