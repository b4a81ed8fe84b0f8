"""Optional kinds: APIs that a cluster may lack, and gain or lose while the operator runs.

Discovery is polled every few seconds. A few small requests cost less than a watch of all
CustomResourceDefinitions, which are the largest objects of many clusters; they need no permission,
and they cover aggregated APIs too. Children of an optional kind are watched only while it is
served, and not by kopf, which chooses at its start what to watch.
"""

import asyncio
import logging
import sys
from collections.abc import Callable

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError
from deepseek_operator.cluster.kinds import CHILDREN, OPTIONAL, Kind
from deepseek_operator.cluster.watch import Watch
from deepseek_operator.controller.queue import WorkQueue

logger = logging.getLogger(__name__)

# Seconds between two polls: a user who has just installed an API waits no longer.
LOOK = 10.0
EVERY_VERSION = sys.maxsize


class OptionalKinds:
    """Updates the cache with the optional kinds that are served, and with their objects.

    Args:
        client: Client for discovery.
        cache: Receives the served kinds.
        queue: Receives every resource when the served kinds change.
        watch: Creates the watch of a kind.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        queue: WorkQueue[Key],
        watch: Callable[[Kind], Watch],
    ):
        self._client = client
        self._cache = cache
        self._queue = queue
        self._watch = watch
        self._watched: dict[Kind, tuple[Watch, asyncio.Task[None]]] = {}
        self._unanswered: set[Kind] = set()

    @property
    def watches(self) -> list[Watch]:
        """The watches that run now."""
        return [watch for watch, _ in self._watched.values()]

    async def follow(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._watch_what_is_served(tasks)
                await asyncio.sleep(LOOK)
                await self.look()

    async def look(self) -> None:
        """Discover the served kinds; queue every resource if they have changed."""
        answers = await asyncio.gather(*map(self._is_served, OPTIONAL))
        served = frozenset(
            kind.called for kind, there in zip(OPTIONAL, answers, strict=True) if there
        )
        if served == self._cache.served:
            return
        logger.info("Optional APIs served: %s", ", ".join(sorted(served)) or "none")
        self._cache.served = served
        for key in self._cache.resources():
            self._queue.add(key)

    async def _is_served(self, kind: Kind) -> bool:
        """Return whether a kind is served; the last known answer if discovery fails.

        The API of a kind may be down for a while.
        """
        try:
            there = await self._client.serves(kind)
        except ApiError as error:
            if kind not in self._unanswered:
                logger.info("Failed to discover whether %s are served: %s", kind.plural, error)
            self._unanswered.add(kind)
            return kind.called in self._cache.served
        self._unanswered.discard(kind)
        return there

    def _watch_what_is_served(self, tasks: asyncio.TaskGroup) -> None:
        for kind in OPTIONAL:
            served = kind.called in self._cache.served
            if kind in self._watched and not served:
                self._watched.pop(kind)[1].cancel()
                self._cache.replace(kind, (), EVERY_VERSION)
            elif kind in CHILDREN and served and kind not in self._watched:
                watch = self._watch(kind)
                self._watched[kind] = watch, tasks.create_task(watch.run())
