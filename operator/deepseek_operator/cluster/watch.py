"""Keeps the cache in step with the cluster: a list, and from there a watch stream, for each kind.

kopf watches the resource itself. It starts a task and a logger for every object of every kind, which
at tens of thousands of children takes a minute and hundreds of megabytes, and nothing can be asked
about its streams; ours need neither, and tell when they last heard anything.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError, GoneError
from deepseek_operator.cluster.kept import Key, key_of
from deepseek_operator.cluster.kinds import Kind

logger = logging.getLogger(__name__)

# The API server ends a stream after 5 to 10 minutes, so that not all end at once; seconds.
SHORTEST, LONGEST = 300, 600
# Bookmarks come about every minute: a stream that is silent for longer is dead, whatever TCP says.
SILENCE = 90.0
# Without bookmarks only the end of a stream tells that it lived, so that has to come sooner.
SHORTEST_UNMARKED, LONGEST_UNMARKED = 60, 80
# Time that all attempts to open a stream anew may take before something must be stuck; seconds.
DEAD = 240.0
# One that ends sooner than this was not ended by the API server's clock.
TOO_SHORT = 5.0
FIRST_DELAY = 0.5
LAST_DELAY = 30.0

Concerned = Callable[[Iterable[Key]], None]
Restarted = Callable[[Kind, str], None]


class Watch:
    """One kind, for as long as the operator runs.

    Args:
        client: Reads.
        kind: What is watched.
        cache: Where it is kept.
        concerned: Is told which resources a change concerns.
        restarted: Is told why a stream had to be opened anew, in one word.
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
        self._heard = asyncio.get_running_loop().time()

    def silence(self) -> float:
        """Seconds since the stream, or an attempt to open it, last gave a sign of life."""
        return asyncio.get_running_loop().time() - self._heard

    def is_dead(self) -> bool:
        """Whether neither the stream nor an attempt to open one has been heard of for too long."""
        return self.silence() > DEAD

    async def read(self) -> None:
        """Read everything of the kind; the stream goes on from there.

        Raises:
            ApiError: It could not be read.
        """
        listed: set[Key] = set()
        state = 0
        async for items, version in self._client.pages(self.kind):
            self._heard = asyncio.get_running_loop().time()
            for body in items:
                listed.add(key_of(body))
                self._concerned(self._cache.put(self.kind, body))
            state = version
        self._concerned(self._cache.prune(self.kind, listed, state))
        self._version = state

    async def run(self) -> None:
        """Follow the stream for ever."""
        failures = 0
        while True:
            started = self._heard = asyncio.get_running_loop().time()
            reason = await self._once()
            lasted = asyncio.get_running_loop().time() - started
            failures = 0 if lasted > TOO_SHORT else failures + 1
            if reason == "ended" and not failures:
                continue
            self._restarted(self.kind, reason)
            delay = min(FIRST_DELAY * 2 ** min(failures, 10), LAST_DELAY)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311

    async def _once(self) -> str:
        """One stream from its start to its end, and why it ended, in one word."""
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
            self._heard = asyncio.get_running_loop().time()
            if change == "DELETED":
                self._concerned(self._cache.drop(self.kind, body))
            elif change != "BOOKMARK":
                self._concerned(self._cache.put(self.kind, body))
            self._version = int(body["metadata"]["resourceVersion"])
