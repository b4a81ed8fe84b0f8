"""Work of the leader: watch, reconcile, and renew the lease."""

import asyncio
import gc
import logging
from collections.abc import Iterable

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import UnreachableError
from deepseek_operator.cluster.kinds import RESOURCE, WATCHED, Kind
from deepseek_operator.cluster.watch import Watch
from deepseek_operator.controller import harness, health, loading, metrics, workers
from deepseek_operator.controller.health import Health
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.lease import Lease
from deepseek_operator.controller.lost_events import LostEvents
from deepseek_operator.controller.optional import OptionalKinds
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.custom_metrics.registration import Registration
from deepseek_operator.custom_metrics.server import Server
from deepseek_operator.plan.state.settings import Settings

logger = logging.getLogger(__name__)

# Seconds that running reconciliations get to finish when the process is stopped.
LAST_WORK = 5.0
READ_AGAIN = 1.0


class Leading:
    """One term of leadership, which ends with the process.

    Args:
        client: Unfenced client, for reads; writes go through one that is fenced by the lease.
        lease: Lease that this process holds.
        settings: Settings of the installation.
        status: Receives the state, watches and lost events for the probes.
        server: Server of the custom metrics API, registered for as long as this process leads.
    """

    def __init__(
        self,
        client: Client,
        lease: Lease,
        settings: Settings,
        status: Health,
        server: Server | None = None,
    ):
        self._lease = lease
        self._status = status
        self._cache: Cache = status.cache
        self._queue: WorkQueue[Key] = status.queue
        self._filled = False
        fenced = client.fenced(lease.may_write)
        self._registration: Registration | None = None
        if server is not None:
            self._registration = Registration(
                fenced, server.place, lambda: server.listens, self._metrics_served_by
            )
        self._reconciler = Reconciler(fenced, self._cache, settings, self._queue.add, Hub())
        self._client = client
        self._optional = OptionalKinds(client, self._cache, self._queue, self._watch)
        self._watches = {kind: self._watch(kind) for kind in WATCHED}
        self._lost_events = LostEvents(client, self._cache, self._watches[RESOURCE])

    async def run(self, stop: asyncio.Event) -> None:
        """Lead until `stop` is set.

        Raises:
            LeaseLostError: Another process leads, or may lead by now.
            NotFoundError: The CRD is not installed.
            ApiError: The cluster's state can't be read.
        """
        metrics.LEADER.set(1)
        own = [watch for kind, watch in self._watches.items() if kind is not RESOURCE]
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._lease.keep())]
                await self._optional.look()
                await self._fill()
                self._status.watches = lambda: [*own, *self._optional.watches]
                self._status.lost_events = self._lost_events
                self._status.state = health.READY
                background += [tasks.create_task(watch.run()) for watch in own]
                background += [
                    tasks.create_task(self._lost_events.watch()),
                    tasks.create_task(
                        workers.resync(self._status.watches, self._cache, self._queue)
                    ),
                    tasks.create_task(self._optional.follow()),
                    tasks.create_task(loading.follow(self._cache, self._queue)),
                ]
                if self._registration is not None:
                    background.append(tasks.create_task(self._registration.keep()))
                at_work = [
                    tasks.create_task(workers.work(self._queue, self._reconciler))
                    for _ in range(workers.WORKERS)
                ]
                end = asyncio.Event()
                watching = tasks.create_task(
                    harness.watch(self._cache, self._queue, end, asyncio.Event())
                )
                stopping = tasks.create_task(stop.wait())
                await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
                self._queue.close()
                await asyncio.wait(at_work, timeout=LAST_WORK)
                for task in (*background, *at_work, stopping):
                    task.cancel()
                # No task writes any more: release the lease before kopf's slow shutdown.
                await self._lease.release()
                end.set()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            metrics.LEADER.set(0)

    def _metrics_served_by(self, other: str) -> None:
        for key in self._cache.metrics_served_by(other):
            self._queue.add(key)

    async def _fill(self) -> None:
        """Fill the cache before the first decision."""
        for watch in self._watches.values():
            await _read(watch)
        self._filled = True
        # The objects just read stay: exempt them from further garbage collection.
        gc.collect()
        gc.freeze()
        logger.info("Cache filled: %d DeepSeekDeployments", len(self._cache.resources()))

    def _watch(self, kind: Kind) -> Watch:
        def concerned(keys: Iterable[Key]) -> None:
            add = self._queue.add if self._filled else self._queue.add_later
            for key in keys:
                add(key)

        def restarted(kind: Kind, reason: str) -> None:
            metrics.WATCH_RESTARTS.labels(kind.called, reason).inc()

        return Watch(self._client, kind, self._cache, concerned, restarted)


async def _read(watch: Watch) -> None:
    while True:
        try:
            await watch.read()
            return
        except UnreachableError as error:
            logger.warning("Failed to list %s, retrying: %s", watch.kind.plural, error)
            await asyncio.sleep(READ_AGAIN)
