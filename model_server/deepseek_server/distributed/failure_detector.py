"""When a rank that says nothing counts as lost. Pure: time comes from outside."""

from collections.abc import Iterable

# Words that may get lost or come late before the time is up.
_BEATS = 6


class Pulse:
    """Who was last heard of when.

    Args:
        ranks: those that are listened to.
        silence: seconds without a word after which one is lost.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, ranks: Iterable[int], silence: float, now: float) -> None:
        self._silence, self._looked = silence, now
        self._heard = dict.fromkeys(ranks, now)

    @property
    def period(self) -> float:
        """Seconds between two words."""
        return self._silence / _BEATS

    def heard(self, rank: int, now: float) -> None:
        """A rank has said something."""
        if rank in self._heard:
            self._heard[rank] = now

    def forget(self, rank: int) -> None:
        """A rank has left; nothing is expected of it."""
        self._heard.pop(rank, None)

    def lost(self, now: float) -> int | None:
        """The rank that has been silent for too long, if there is one.

        One who has slept himself (a process that was stopped, a machine that was moved) has no
        right to call others silent: they get their time again.
        """
        slept, self._looked = now - self._looked > self._silence / 2, now
        if slept:
            self._heard = dict.fromkeys(self._heard, now)
            return None
        late = (rank for rank, heard in self._heard.items() if now - heard > self._silence)
        return min(late, default=None)
