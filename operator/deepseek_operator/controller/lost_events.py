"""Detection of events that kopf's watch stream loses: a stream can be open and yet lose events.

Once a minute the versions of all resources, without their content, are compared with the cache.
"""

import asyncio
import logging

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key, key_of, version_of
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError
from deepseek_operator.cluster.kinds import RESOURCE
from deepseek_operator.cluster.watch import Watch
from deepseek_operator.controller.metrics import WATCH_RESTARTS

logger = logging.getLogger(__name__)

EVERY = 60.0  # seconds
# Seconds that an event in flight gets to arrive.
GRACE = 10.0


class LostEvents:
    """Compares resource versions with the cache, and lists all resources again after a loss.

    Attributes:
        in_a_row: Consecutive comparisons that found lost events.
    """

    def __init__(self, client: Client, cache: Cache, resources: Watch):
        self.in_a_row = 0
        self._client = client
        self._cache = cache
        self._resources = resources

    async def watch(self) -> None:
        """Compare once a minute, forever."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.compare()
            except ApiError as error:
                logger.info("Failed to compare resources with the cache: %s", error)

    async def compare(self) -> None:
        """Compare once, and list all resources again if events were lost.

        Raises:
            ApiError: A request to the API server failed.
        """
        newest: dict[Key, int] = {}
        version = 0
        async for items, state in self._client.pages(RESOURCE, metadata_only=True):
            newest |= {key_of(item): version_of(item) for item in items}
            version = state
        if self._behind(newest, version):
            await asyncio.sleep(GRACE)
        behind = self._behind(newest, version)
        self.in_a_row = self.in_a_row + 1 if behind else 0
        if behind:
            WATCH_RESTARTS.labels(RESOURCE.name, "missed").inc()
            logger.warning(
                "Lost the watch events of %d resources (first: %s), listing all resources again",
                len(behind),
                behind[0],
            )
            await self._resources.read()

    def _behind(self, newest: dict[Key, int], version: int) -> list[Key]:
        """Return the resources that are outdated in the cache, or deleted without an event."""
        old = [key for key in newest if self._cache.version(RESOURCE, key) < newest[key]]
        gone = [
            key
            for key in self._cache.resources()
            if key not in newest and self._cache.version(RESOURCE, key) <= version
        ]
        return old + gone
