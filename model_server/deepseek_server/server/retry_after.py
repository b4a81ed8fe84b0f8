"""How fast requests end, from which it follows when one that is turned away may come back."""

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60
SOONEST_SECONDS, LATEST_SECONDS = 1, 60


class Pace:
    """Counts the ends of requests over the last minute, by the second.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds: deque[tuple[int, int]] = deque()  # a second, and the ends within it
        self._ends = 0

    def ended(self) -> None:
        """Count an end."""
        now = int(self._clock())
        self._forget(now)
        ends = 1
        if self._seconds and self._seconds[-1][0] == now:
            ends += self._seconds.pop()[1]
        self._seconds.append((now, ends))
        self._ends += 1

    def retry_after(self, waiting: int) -> int:
        """Whole seconds until those that wait now have had their turn, were all to go on like this.

        Where nothing has ended lately one end is assumed: there is nothing better to go by.

        Args:
            waiting: requests in the queue.
        """
        now = self._clock()
        self._forget(int(now))
        seconds = min(now - self._began, WINDOW_SECONDS)
        estimate = waiting * seconds / max(self._ends, 1)
        return min(max(math.ceil(estimate), SOONEST_SECONDS), LATEST_SECONDS)

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_SECONDS:
            self._ends -= self._seconds.popleft()[1]
