"""The HTTP port of the operator: liveness, readiness, metrics."""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.controller import metrics
from deepseek_operator.controller.queue import WorkQueue


async def serve(
    port: int, cache: Cache, queue: WorkQueue[Key], ready: asyncio.Event
) -> web.AppRunner:
    """Start serving; the caller cleans the runner up.

    Raises:
        OSError: The port is taken.
    """

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def is_ready(_: web.Request) -> web.Response:
        if ready.is_set():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="reading the cluster's state\n")

    async def show_metrics(_: web.Request) -> web.Response:
        metrics.QUEUE_DEPTH.set(queue.depth())
        metrics.QUEUE_AGE.set(queue.age())
        metrics.RESOURCES.set(len(cache.resources()))
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", live),
            web.get("/readyz", is_ready),
            web.get("/metrics", show_metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - probed from outside the pod
    return runner
