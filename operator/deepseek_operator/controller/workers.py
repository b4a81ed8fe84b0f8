"""Workers that take resources from the queue, and the resync that puts all of them into it."""

import asyncio
import logging
import time

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import ApiError, RejectedError, UnreachableError
from deepseek_operator.cluster.kinds import WATCHED
from deepseek_operator.controller import metrics
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.controller.reconciler import Reconciler

logger = logging.getLogger(__name__)

WORKERS = 16
RESYNC = 600.0
# What the API server refuses is tried again, because quotas and policies change without telling us.
REJECTED_DELAY = 15.0


async def work(queue: WorkQueue[Key], reconciler: Reconciler) -> None:
    """Reconcile one resource after the other, for ever."""
    while True:
        key = await queue.get()
        started = time.perf_counter()
        result = "ok"
        try:
            queue.done(key, await reconciler.reconcile(key))
        except UnreachableError as error:
            result = "unreachable"
            delay = queue.retry(key, error.retry_after or 0.0)
            logger.info("%s: again in %.1f s: %s", key, delay, error)
        except RejectedError as error:
            result = "rejected"
            delay = queue.retry(key, REJECTED_DELAY)
            logger.warning("%s: again in %.0f s: %s", key, delay, error)
        except Exception:
            # A mistake of ours with one resource must not stop the others.
            result = "error"
            delay = queue.retry(key, REJECTED_DELAY)
            logger.exception("%s: internal error, again in %.0f s", key, delay)
        metrics.RECONCILE.labels(result).observe(time.perf_counter() - started)


async def fill(client: Client, cache: Cache, queue: WorkQueue[Key]) -> None:
    """Read everything that is watched into the cache and have what changed worked on.

    Raises:
        ApiError: The API server could not be asked.
    """
    for kind in WATCHED:
        items, version = await client.list(kind)
        for key in cache.replace(kind, items, version):
            queue.add(key)


async def resync(client: Client, cache: Cache, queue: WorkQueue[Key]) -> None:
    """Every ten minutes look at everything again: a watch stream can lose a deletion."""
    while True:
        await asyncio.sleep(RESYNC)
        try:
            await fill(client, cache, queue)
        except ApiError as error:
            logger.warning("The resync is put off: %s", error)
        for key in cache.resources():
            queue.add(key)
