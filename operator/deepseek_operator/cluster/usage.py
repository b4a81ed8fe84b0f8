"""Resource usage of nodes by pods, queried only when a rollout or a waiting pod depends on it.

Watching every pod of a cluster would cost memory in proportion to what others run.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable

from deepseek_operator.cluster.client import Client
from deepseek_operator.plan.rolling.capacity import Holder, Usage

# Nodes queried at once.
BATCH = 16


class NodeUsage:
    """Holders of the nodes' resources.

    Args:
        client: Client for the API server.
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic):
        self._client = client
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[Holder, ...]]] = {}

    async def batches(self, nodes: Iterable[str], max_age: float) -> AsyncIterator[Usage]:
        """Yield the holders by node, a batch of nodes at a time, so that the caller can stop early.

        Args:
            nodes: Names of the nodes.
            max_age: Maximum age of a cached answer, in seconds.

        Raises:
            ApiError: A request to the API server failed.
        """
        self._forget(max_age)
        names = sorted(nodes)
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            found = await asyncio.gather(*(self._holders(name, max_age) for name in batch))
            yield dict(zip(batch, found, strict=True))

    async def _holders(self, node: str, max_age: float) -> tuple[Holder, ...]:
        known = self._known.get(node)
        if known and self._clock() - known[0] <= max_age:
            return known[1]
        asked = self._clock()
        holders = tuple(Holder.of(pod) for pod in await self._client.pods_on(node))
        self._known[node] = asked, holders
        return holders

    def _forget(self, max_age: float) -> None:
        """Drop answers too old for any caller, so that deleted nodes take no memory."""
        oldest = self._clock() - max(max_age, 60.0)
        self._known = {name: item for name, item in self._known.items() if item[0] >= oldest}
