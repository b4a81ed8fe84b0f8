"""Synchronisation of the cache with the cluster: a list, then a watch stream, for each kind.

kopf watches the resource itself. It starts a task and a logger for every object of every kind, which
takes a minute and hundreds of megabytes for tens of thousands of children, and it does not expose
the state of its streams. The streams here need neither, and report their last sign of life.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key, key_of
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError, GoneError
from deepseek_operator.cluster.kinds import Kind

logger = logging.getLogger(__name__)

# Seconds after which the API server ends a stream, random so that not all end at once.
SHORTEST, LONGEST = 300, 600
# Bookmarks arrive about every minute: a stream silent for longer is dead, whatever TCP reports.
SILENCE = 90.0
# Without bookmarks only the end of a stream shows that it was alive, so it has to end sooner.
SHORTEST_UNMARKED, LONGEST_UNMARKED = 60, 80
# Seconds without a sign of life, reconnects included, after which a watch counts as stuck.
DEAD = 240.0
# A stream that ends sooner was not ended by the API server's timeout.
TOO_SHORT = 5.0
FIRST_DELAY = 0.5
LAST_DELAY = 30.0

Concerned = Callable[[Iterable[Key]], None]
Restarted = Callable[[Kind, str], None]


class Watch:
    """Watch of one kind, for as long as the operator runs.

    Args:
        client: Client for lists and streams.
        kind: Kind to watch.
        cache: Cache to fill.
        concerned: Receives the resources that a change affects.
        restarted: Receives the reason of each restart of the stream, in one word.
    """

    def __init__(
        self, client: Client, kind: Kind, cache: Cache, concerned: Concerned, restarted: Restarted
    ):
        self.kind = kind
        self._client = client
        self._cache = cache
        self._concerned = concerned
        self._restarted = restarted
        self._version: int | None = None
        self._last_received = asyncio.get_running_loop().time()

    def silence(self) -> float:
        """Return the seconds since the last sign of life of the stream or an attempt to open it."""
        return asyncio.get_running_loop().time() - self._last_received

    def is_dead(self) -> bool:
        """Return whether the last sign of life is too long ago."""
        return self.silence() > DEAD

    async def read(self) -> None:
        """List all objects of the kind; the stream continues from there.

        Raises:
            ApiError: The list failed.
        """
        listed: set[Key] = set()
        state = 0
        async for items, version in self._client.pages(self.kind):
            self._last_received = asyncio.get_running_loop().time()
            for body in items:
                listed.add(key_of(body))
                self._concerned(self._cache.put(self.kind, body))
            state = version
        self._concerned(self._cache.prune(self.kind, listed, state))
        self._version = state

    async def run(self) -> None:
        """Follow the stream forever, and reopen it when it ends."""
        failures = 0
        while True:
            started = self._last_received = asyncio.get_running_loop().time()
            reason = await self._once()
            lasted = asyncio.get_running_loop().time() - started
            failures = 0 if lasted > TOO_SHORT else failures + 1
            if reason == "ended" and not failures:
                continue
            self._restarted(self.kind, reason)
            delay = min(FIRST_DELAY * 2 ** min(failures, 10), LAST_DELAY)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311

    async def _once(self) -> str:
        """Follow one stream from start to end; return why it ended, in one word."""
        try:
            if self._version is None:
                await self.read()
            await self._follow()
        except GoneError:
            self._version = None
            return "expired"
        except ApiError as error:
            logger.info("Restarting the watch of %s: %s", self.kind.plural, error)
            return "silent" if self.silence() >= SILENCE else "failed"
        return "ended"

    async def _follow(self) -> None:
        marked = self.kind.bookmarks
        shortest, longest = (SHORTEST, LONGEST) if marked else (SHORTEST_UNMARKED, LONGEST_UNMARKED)
        seconds = random.randint(shortest, longest)  # noqa: S311
        stream = self._client.watch(self.kind, self._version or 0, seconds, SILENCE)
        async for change, body in stream:
            self._last_received = asyncio.get_running_loop().time()
            if change == "DELETED":
                self._concerned(self._cache.drop(self.kind, body))
            elif change != "BOOKMARK":
                self._concerned(self._cache.put(self.kind, body))
            self._version = int(body["metadata"]["resourceVersion"])
