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

# Seconds, longer than all requests of one reconciliation may take.
WORK_LIMIT = 900.0
# Consecutive comparisons that found lost events.
LOST_LIMIT = 3

STARTING = "reading the cluster's state"
STANDING_BY = "standing by"
READY = "ready"


@dataclass
class Health:
    """State of the process, as the probes report it.

    Attributes:
        state: One of STARTING, STANDING_BY and READY.
        watches: Returns the watches that a leader runs.
        lost_events: Comparison of kopf's stream with the cluster, on a leader only.
    """

    cache: Cache
    queue: WorkQueue[Key]
    state: str = STARTING
    watches: Callable[[], Sequence[Watch]] = tuple
    lost_events: LostEvents | None = None

    def ailments(self) -> list[str]:
        """Return the reasons to restart this process; a stuck event loop does not even respond."""
        found = [
            f"the watch of {watch.kind.plural} is dead: no sign of life for {watch.silence():.0f} s"
            for watch in self.watches()
            if watch.is_dead()
        ]
        if self.queue.working() > WORK_LIMIT:
            found.append(f"a reconciliation is stuck: running for {self.queue.working():.0f} s")
        if self.lost_events and self.lost_events.in_a_row >= LOST_LIMIT:
            found.append("the watch of DeepSeekDeployments loses events")
        return found

    async def live(self, _: web.Request) -> web.Response:
        """Answer the liveness probe: 503 with the reasons if the process needs a restart."""
        if found := self.ailments():
            return web.Response(status=503, text="\n".join(found) + "\n")
        return web.Response(text="alive\n")

    async def ready(self, _: web.Request) -> web.Response:
        """Answer the readiness probe: 503 while starting, 200 as a leader or standby."""
        return web.Response(status=503 if self.state == STARTING else 200, text=f"{self.state}\n")

    async def metrics(self, _: web.Request) -> web.Response:
        """Return the metrics in Prometheus' text format."""
        metrics.QUEUE_DEPTH.set(self.queue.depth())
        metrics.QUEUE_AGE.set(self.queue.age())
        metrics.RESOURCES.set(len(self.cache.resources()))
        for watch in self.watches():
            metrics.WATCH_SILENCE.labels(watch.kind.called).set(watch.silence())
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(port: int, health: Health) -> web.AppRunner:
    """Start the HTTP server and return its runner, which the caller has to clean up.

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
