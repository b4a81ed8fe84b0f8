"""A work queue: every key at most once in it, at most one worker on a key, back-off for failures."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.2
LAST_DELAY = 300.0
# What merely has to be looked at again gets every so many-th turn, however much else there is.
LATER_TURN = 8


class ClosedError(Exception):
    """The queue gives out nothing more."""


class WorkQueue(Generic[K]):
    """Keys that wait for work.

    A key added while it is worked on waits until that work is done, so the newest state is
    always looked at once more and never by two workers at once. What changed comes before what is
    only looked at again (after a start, every ten minutes), so that a person who edits a resource
    does not wait for ten thousand others.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[K, float] = OrderedDict()
        self._later: OrderedDict[K, float] = OrderedDict()
        self._again: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()
        self._turn = 0
        self._closed = False

    def add(self, key: K) -> None:
        """Have a key worked on as soon as possible."""
        self._forget_timer(key)
        now = asyncio.get_running_loop().time()
        if key in self._working:
            self._again.setdefault(key, now)
        else:
            self._waiting.setdefault(key, self._later.pop(key, now))
            self._changed.set()

    def add_later(self, key: K) -> None:
        """Have a key worked on when there is time for it."""
        if key in self._working or key in self._waiting or key in self._timers:
            return
        self._later.setdefault(key, asyncio.get_running_loop().time())
        self._changed.set()

    def add_after(self, key: K, delay: float) -> None:
        """Have a key worked on in `delay` seconds, or earlier where something adds it."""
        if key in self._waiting or key in self._again:
            return
        self._forget_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(delay, self.add, key)

    async def get(self) -> K:
        """The key that has waited longest; `done`, `retry` or `add_after` must follow.

        Raises:
            ClosedError: The queue gives out nothing more.
        """
        while not self._closed and not self._waiting and not self._later:
            self._changed.clear()
            await self._changed.wait()
        if self._closed:
            raise ClosedError
        self._turn = (self._turn + 1) % LATER_TURN
        first = self._later if self._turn == 0 else self._waiting
        key, _ = (first or self._waiting or self._later).popitem(last=False)
        self._working[key] = asyncio.get_running_loop().time()
        return key

    def close(self) -> None:
        """Give out nothing more; what is worked on comes to its end."""
        self._closed = True
        self._changed.set()

    def done(self, key: K, again: float | None = None) -> None:
        """The work on a key has succeeded; it is to be looked at again in so many seconds, if any."""
        self._failures.pop(key, None)
        self._finish(key)
        if again is not None:
            self.add_after(key, again)

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """The work on a key has failed: again after a growing delay, which is returned (seconds)."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay: float = min(FIRST_DELAY * 2 ** min(count, 20), LAST_DELAY)
        # Up to a fifth more, so that what failed together does not come back together.
        delay = max(delay * random.uniform(1.0, 1.2), at_least)  # noqa: S311
        self._finish(key)
        self.add_after(key, delay)
        return delay

    def _finish(self, key: K) -> None:
        self._working.pop(key, None)
        since = self._again.pop(key, None)
        if since is not None:
            self._waiting[key] = since
            self._changed.set()

    def _forget_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting) + len(self._later) + len(self._again)

    def age(self) -> float:
        """Seconds that the oldest key has waited."""
        return _age([*self._waiting.values(), *self._later.values(), *self._again.values()])

    def working(self) -> float:
        """Seconds for which the longest work has been going on."""
        return _age(list(self._working.values()))


def _age(since: list[float]) -> float:
    return asyncio.get_running_loop().time() - min(since) if since else 0.0
