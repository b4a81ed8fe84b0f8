"""Detection of a stuck engine.

A device can hang in a kernel, and a process in a collective whose peer is lost, without any error. The
engine reports after every step and to every command. It is stuck if a command or a request is pending
and no report arrives; a busy engine reports all the time.
"""

import time
from collections.abc import Callable


class Watchdog:
    """Tracks since when a report is due.

    Args:
        patience: seconds after which a report is overdue.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._since: float | None = None

    def expect(self) -> None:
        """Record that a command was sent to the engine."""
        if self._since is None:
            self._since = self._clock()

    def record_report(self, *, busy: bool) -> None:
        """Record a report of the engine.

        Args:
            busy: whether it still has requests, so that another report is due.
        """
        self._since = self._clock() if busy else None

    @property
    def stuck(self) -> bool:
        """Whether a report is overdue."""
        since = self._since
        return since is not None and self._clock() - since > self._patience
