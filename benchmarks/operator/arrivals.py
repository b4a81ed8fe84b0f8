"""Times at which objects appear and disappear, as seen by a watching client."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.operator.bare import MADE
from deepseek_operator.cluster.cached_object import key_of
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import Kind

FOR_LONG = 3600


class Arrivals:
    """Existing children by kind and name, with the time at which each was first seen."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[Kind, dict[str, float]] = defaultdict(dict)
        self._changed = asyncio.Event()

    async def all_of(self, names: Iterable[str], patience: float) -> float:
        """Wait until every child of these resources exists; return the time of the last one.

        Raises:
            TimeoutError: Some are missing after `patience` seconds.
        """
        wanted = set(names)
        async with asyncio.timeout(patience):
            while any(wanted - self._seen[kind].keys() for kind in MADE):
                self._changed.clear()
                await self._changed.wait()
        return max(self._seen[kind][name] for kind in MADE for name in wanted)

    def forget(self, kind: Kind, name: str) -> None:
        """Wait for the next arrival of a child, not for the last one."""
        self._seen[kind].pop(name, None)

    async def follow(self, kind: Kind, version: int) -> None:
        """Process a watch stream; the API server closes one that is read too slowly."""
        while True:
            async for change, body in self._client.watch(kind, version, FOR_LONG, FOR_LONG):
                version = int(body["metadata"]["resourceVersion"])
                if change == "ADDED":
                    self._seen[kind][key_of(body).name] = time.monotonic()
                    self._changed.set()


@asynccontextmanager
async def arrivals(client: Client) -> AsyncIterator[Arrivals]:
    """Watch the children of all resources from now on."""
    watched = Arrivals(client)
    following: list[asyncio.Task[Any]] = []
    for kind in MADE:
        _, version = await client.list(kind, metadata_only=True)
        following.append(asyncio.create_task(watched.follow(kind, version)))
    try:
        yield watched
    finally:
        for task in following:
            task.cancel()
