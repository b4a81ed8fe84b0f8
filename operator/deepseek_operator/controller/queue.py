"""Work queue: each key is queued at most once, has at most one worker, and backs off on failure."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.2
LAST_DELAY = 300.0
# One in this many keys handed out is a low-priority one, however many changed keys wait.
LATER_TURN = 8


class ClosedError(Exception):
    """The queue hands out no more keys."""


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    A key that is added while a worker processes it is queued when that work is done: its newest
    state is always processed, and never by two workers at once. Changed keys come before keys that
    are only revisited (after a start, every ten minutes), so that a user who edits a resource does
    not wait for ten thousand others.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[K, float] = OrderedDict()
        self._later: OrderedDict[K, float] = OrderedDict()
        self._added_while_working: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()
        self._turn = 0
        self._closed = False

    def add(self, key: K) -> None:
        """Queue a key to be processed as soon as possible."""
        self._forget_timer(key)
        now = asyncio.get_running_loop().time()
        if key in self._working:
            self._added_while_working.setdefault(key, now)
        else:
            self._waiting.setdefault(key, self._later.pop(key, now))
            self._changed.set()

    def add_later(self, key: K) -> None:
        """Queue a key at low priority, unless it is queued, scheduled or being processed."""
        if key in self._working or key in self._waiting or key in self._timers:
            return
        self._later.setdefault(key, asyncio.get_running_loop().time())
        self._changed.set()

    def add_after(self, key: K, delay: float) -> None:
        """Queue a key in `delay` seconds, or earlier if it is added before."""
        if key in self._waiting or key in self._added_while_working:
            return
        self._forget_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(delay, self.add, key)

    async def get(self) -> K:
        """Return the key that has waited longest; `done` or `retry` must follow.

        Raises:
            ClosedError: The queue hands out no more keys.
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
        """Stop handing out keys; work in progress is finished."""
        self._closed = True
        self._changed.set()

    def done(self, key: K, requeue_after: float | None = None) -> None:
        """Mark the work on a key as successful; requeue it after `requeue_after` seconds, None for never."""
        self._failures.pop(key, None)
        self._finish(key)
        if requeue_after is not None:
            self.add_after(key, requeue_after)

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """Mark the work on a key as failed; requeue it with backoff and return the delay in seconds.

        Args:
            key: The key.
            at_least: Minimum delay in seconds.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay: float = min(FIRST_DELAY * 2 ** min(count, 20), LAST_DELAY)
        # Jitter of up to a fifth, so that keys that failed together do not come back together.
        delay = max(delay * random.uniform(1.0, 1.2), at_least)  # noqa: S311
        self._finish(key)
        self.add_after(key, delay)
        return delay

    def _finish(self, key: K) -> None:
        self._working.pop(key, None)
        since = self._added_while_working.pop(key, None)
        if since is not None:
            self._waiting[key] = since
            self._changed.set()

    def _forget_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def depth(self) -> int:
        """Return the number of keys that wait for a worker."""
        return len(self._waiting) + len(self._later) + len(self._added_while_working)

    def age(self) -> float:
        """Return how many seconds the oldest key has waited."""
        return _age(
            [*self._waiting.values(), *self._later.values(), *self._added_while_working.values()]
        )

    def working(self) -> float:
        """Return how many seconds the longest work in progress has taken."""
        return _age(list(self._working.values()))


def _age(since: list[float]) -> float:
    return asyncio.get_running_loop().time() - min(since) if since else 0.0
