"""The HTTP port of the operator: liveness, readiness, metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.watch import Watch
from deepseek_operator.controller import metrics
from deepseek_operator.controller.lost_events import LostEvents
from deepseek_operator.controller.queue import WorkQueue

# Longer than all requests of one reconciliation may take; seconds.
WORK_LIMIT = 900.0
# Comparisons in a row that found events of resources lost.
LOST_LIMIT = 3

STARTING = "reading the cluster's state"
STANDING_BY = "standing by"
READY = "ready"


@dataclass
class Health:
    """How the process is: what the probes ask.

    Attributes:
        state: One of STARTING, STANDING_BY and READY.
        watches: Tells the streams that a leader has open.
        lost_events: The comparison of kopf's stream with the cluster, of a leader.
    """

    cache: Cache
    queue: WorkQueue[Key]
    state: str = STARTING
    watches: Callable[[], Sequence[Watch]] = tuple
    lost_events: LostEvents | None = None

    def ailments(self) -> list[str]:
        """Why this process should be started anew; a loop that is stuck does not even answer."""
        found = [
            f"the watch of {watch.kind.plural} is dead: nothing for {watch.silence():.0f} s"
            for watch in self.watches()
            if watch.is_dead()
        ]
        if self.queue.working() > WORK_LIMIT:
            found.append(f"a reconciliation is stuck: {self.queue.working():.0f} s")
        if self.lost_events and self.lost_events.in_a_row >= LOST_LIMIT:
            found.append("events of resources do not arrive")
        return found

    async def live(self, _: web.Request) -> web.Response:
        """Whether the process works or stands by as it should."""
        if found := self.ailments():
            return web.Response(status=503, text="\n".join(found) + "\n")
        return web.Response(text="alive\n")

    async def ready(self, _: web.Request) -> web.Response:
        """Whether it has done all that it does before it works, or stands by."""
        return web.Response(status=503 if self.state == STARTING else 200, text=f"{self.state}\n")

    async def metrics(self, _: web.Request) -> web.Response:
        """The metrics for Prometheus."""
        metrics.QUEUE_DEPTH.set(self.queue.depth())
        metrics.QUEUE_AGE.set(self.queue.age())
        metrics.RESOURCES.set(len(self.cache.resources()))
        for watch in self.watches():
            metrics.WATCH_SILENCE.labels(watch.kind.called).set(watch.silence())
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(port: int, health: Health) -> web.AppRunner:
    """Start serving; the caller cleans the runner up.

    Raises:
        OSError: The port is taken.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", health.live),
            web.get("/readyz", health.ready),
            web.get("/metrics", health.metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - probed from outside the pod
    return runner
