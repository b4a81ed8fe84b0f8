"""Notices an engine that is there and gets no further.

A device can hang in a kernel, and a process in a collective whose other side is lost, without any
error. The engine reports after every step and to every command; what shows that it is stuck is
that something was asked of it, or is under way in it, and no report comes. One that is merely busy
reports all the time.
"""

import time
from collections.abc import Callable


class Watchdog:
    """Keeps the time since which a report is due.

    Args:
        patience: seconds that a report may take.
        clock: seconds that never go back.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._since: float | None = None

    def expect(self) -> None:
        """Something was asked of the engine."""
        if self._since is None:
            self._since = self._clock()

    def heard(self, *, busy: bool) -> None:
        """The engine has reported.

        Args:
            busy: whether it still has something to do, so that another report is due.
        """
        self._since = self._clock() if busy else None

    @property
    def stuck(self) -> bool:
        """Whether a report is overdue."""
        since = self._since
        return since is not None and self._clock() - since > self._patience
