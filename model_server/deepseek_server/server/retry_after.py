"""Rate at which requests end, and the Retry-After of rejected requests that follows from it."""

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60
SOONEST_SECONDS, LATEST_SECONDS = 1, 60


class Pace:
    """Number of requests that ended in each second of the last minute.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds: deque[tuple[int, int]] = deque()  # a second, and the ends within it
        self._ends = 0

    def ended(self) -> None:
        """Count the end of a request."""
        now = int(self._clock())
        self._forget(now)
        ends = 1
        if self._seconds and self._seconds[-1][0] == now:
            ends += self._seconds.pop()[1]
        self._seconds.append((now, ends))
        self._ends += 1

    def retry_after(self, waiting: int) -> int:
        """Estimate the whole seconds until all waiting requests have started, at the current rate.

        Assumes one end if no request has ended in the last minute.

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
