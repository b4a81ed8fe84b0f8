"""Workers that reconcile resources from the queue, and the resync that queues all of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.client import IN_FLIGHT
from deepseek_operator.cluster.errors import ApiError, RejectedError, UnreachableError
from deepseek_operator.cluster.watch import Watch
from deepseek_operator.controller import metrics
from deepseek_operator.controller.queue import ClosedError, WorkQueue
from deepseek_operator.controller.reconciler import Reconciler

logger = logging.getLogger(__name__)

# One for each request that may be in flight.
WORKERS = IN_FLIGHT
RESYNC = 600.0
# Rejected writes are retried, because quotas and policies change without an event to the operator.
REJECTED_DELAY = 15.0


async def work(queue: WorkQueue[Key], reconciler: Reconciler) -> None:
    """Reconcile one resource after the other until the queue is closed."""
    while True:
        try:
            key = await queue.get()
        except ClosedError:
            return
        await _reconcile(key, queue, reconciler)


async def _reconcile(key: Key, queue: WorkQueue[Key], reconciler: Reconciler) -> None:
    started = time.perf_counter()
    result = "ok"
    try:
        queue.done(key, await reconciler.reconcile(key))
    except UnreachableError as error:
        result = "unreachable"
        delay = queue.retry(key, error.retry_after or 0.0)
        logger.info("%s: not reconciled, retrying in %.1f s: %s", key, delay, error)
    except RejectedError as error:
        result = "rejected"
        delay = queue.retry(key, REJECTED_DELAY)
        logger.warning("%s: rejected, retrying in %.0f s: %s", key, delay, error)
    except Exception:
        # A bug that one resource triggers must not stop the others.
        result = "error"
        delay = queue.retry(key, REJECTED_DELAY)
        logger.exception("%s: internal error, retrying in %.0f s", key, delay)
    metrics.RECONCILE.labels(result).observe(time.perf_counter() - started)
    if result != "ok":
        metrics.ERRORS.labels(result).inc()


async def resync(
    watches: Callable[[], Sequence[Watch]], cache: Cache, queue: WorkQueue[Key]
) -> None:
    """List every kind again within ten minutes, one after the other, then queue all resources."""
    while True:
        now = watches()
        for watch in now:
            await asyncio.sleep(RESYNC / len(now))
            try:
                await watch.read()
            except ApiError as error:
                logger.warning("Skipped the resync of %s: %s", watch.kind.plural, error)
        for key in cache.resources():
            queue.add_later(key)
