"""Kinds that a cluster may lack, and get or lose while the operator runs.

Which of them are served is asked every few seconds. A few small requests cost less than a watch of
all CustomResourceDefinitions, which are the largest objects of many clusters, need no right, and
hold for aggregated APIs too. Children of such a kind are watched only while it is served, here and
not by kopf, which decides at its start what there is to watch.
"""

import asyncio
import logging
import sys

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError
from deepseek_operator.cluster.kinds import CHILDREN, OPTIONAL, Kind
from deepseek_operator.controller.queue import WorkQueue

logger = logging.getLogger(__name__)

# Seconds between two looks: a person who has just installed an API waits no longer.
LOOK = 10.0
# Seconds after which a stream is ended and the list read anew, as kopf does with its own; and those
# of silence after which it counts as dead (the API server sends a bookmark about every minute).
STREAM = 600
SILENCE = 150.0
EVERY_VERSION = sys.maxsize
# Seconds until a stream that broke is tried again.
BROKEN = 5.0


class OptionalKinds:
    """Keeps the cache informed of which optional kinds are served, and of their objects."""

    def __init__(self, client: Client, cache: Cache, queue: WorkQueue[Key]):
        self._client = client
        self._cache = cache
        self._queue = queue
        self._watches: dict[Kind, asyncio.Task[None]] = {}
        self._unanswered: set[Kind] = set()

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                self._watch_what_is_served()
                await asyncio.sleep(LOOK)
                await self.look()
        finally:
            for task in self._watches.values():
                task.cancel()

    async def look(self) -> None:
        """Ask which kinds are served; where that has changed, every resource is looked at again."""
        answers = await asyncio.gather(*map(self._is_served, OPTIONAL))
        served = frozenset(
            kind.name for kind, there in zip(OPTIONAL, answers, strict=True) if there
        )
        if served == self._cache.served:
            return
        logger.info("Optional APIs served: %s", ", ".join(sorted(served)) or "none")
        self._cache.served = served
        for key in self._cache.resources():
            self._queue.add(key)

    async def _is_served(self, kind: Kind) -> bool:
        """Whether a kind is served; as before where that can't be said (its API may be down)."""
        try:
            there = await self._client.serves(kind)
        except ApiError as error:
            if kind not in self._unanswered:
                logger.info("Whether %s are served can't be said: %s", kind.plural, error)
            self._unanswered.add(kind)
            return kind.name in self._cache.served
        self._unanswered.discard(kind)
        return there

    def _watch_what_is_served(self) -> None:
        for kind in OPTIONAL:
            served = kind.name in self._cache.served
            if kind in self._watches and not served:
                self._watches.pop(kind).cancel()
                self._cache.replace(kind, (), EVERY_VERSION)
            elif kind in CHILDREN and served and kind not in self._watches:
                self._watches[kind] = asyncio.create_task(self._watch(kind))

    async def _watch(self, kind: Kind) -> None:
        """Keep the cache up to date with the objects of a kind, until cancelled."""
        while True:
            try:
                items, version = await self._client.list(kind)
                for key in self._cache.replace(kind, items, version):
                    self._queue.add(key)
                async for event, body in self._client.watch(kind, version, STREAM, SILENCE):
                    if event == "BOOKMARK":
                        continue
                    change = self._cache.drop if event == "DELETED" else self._cache.put
                    for key in change(kind, body):
                        self._queue.add(key)
            except ApiError as error:
                logger.info("%s are not watched for %.0f s: %s", kind.plural, BROKEN, error)
                await asyncio.sleep(BROKEN)
            except Exception:
                # A mistake of ours with one object must not leave the kind unwatched.
                logger.exception("%s are not watched for %.0f s", kind.plural, BROKEN)
                await asyncio.sleep(BROKEN)
