"""Start and stop of the operator: `python -m deepseek_operator`."""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.config import ConfigException

from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.client import Client, connect
from deepseek_operator.cluster.errors import ApiError, NotFoundError
from deepseek_operator.controller import harness, health, loading, workers
from deepseek_operator.controller.hub import Hub
from deepseek_operator.controller.logs import set_up
from deepseek_operator.controller.optional import OptionalKinds
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.custom_metrics.registration import Registration
from deepseek_operator.custom_metrics.server import Server
from deepseek_operator.custom_metrics.serving import Place
from deepseek_operator.plan.settings import Settings

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The operator can't start; the text says why and what to do."""


@dataclass(frozen=True)
class Options:
    """What the environment says.

    Attributes:
        port: For health and metrics of the operator itself.
        custom_metrics: Where the custom metrics API is served, None: nowhere.
    """

    settings: Settings
    port: int
    catalogue: Path | None = None
    custom_metrics: Place | None = None

    @classmethod
    def from_environment(cls) -> "Options":
        """Read the variables that the chart sets.

        Raises:
            StartError: One is missing or no number.
        """
        image = os.environ.get("DSO_SERVER_IMAGE", "")
        if not image:
            raise StartError("DSO_SERVER_IMAGE is not set: it names the image of the model server.")
        settings = Settings(
            server_image=image,
            server_pull_policy=os.environ.get("DSO_SERVER_PULL_POLICY", ""),
            hub_endpoint=os.environ.get("DSO_HUB_ENDPOINT", ""),
            namespace=os.environ.get("DSO_NAMESPACE", ""),
            monitoring_namespace=os.environ.get("DSO_MONITORING_NAMESPACE", ""),
            pod_monitor_labels=_labels(os.environ.get("DSO_POD_MONITOR_LABELS", "")),
        )
        catalogue = os.environ.get("DSO_CATALOG", "")
        return cls(
            settings,
            _port("DSO_HTTP_PORT", "8080"),
            Path(catalogue) if catalogue else None,
            _custom_metrics(),
        )


def read_catalogue(own: Path | None) -> None:
    """Read the catalogue, an installation's own entries included, so that mistakes are told now.

    Raises:
        StartError: An entry is wrong.
    """
    try:
        if own:
            entries.add(own)
        known = len(list(models())), len(accelerators().profiles)
    except entries.EntryError as error:
        raise StartError(f"The catalogue can't be used: {error}") from error
    logger.info("The catalogue has %d models and %d kinds of GPU", *known)


def _port(variable: str, default: str) -> int:
    port = os.environ.get(variable, default)
    if not port.isdigit():
        raise StartError(f"{variable} must be a port number, not {port!r}.")
    return int(port)


def _custom_metrics() -> Place | None:
    service = os.environ.get("DSO_CUSTOM_METRICS_SERVICE", "")
    if not service:
        return None
    namespace = os.environ.get("DSO_NAMESPACE", "")
    if not namespace:
        raise StartError("DSO_NAMESPACE is not set: it says where DSO_CUSTOM_METRICS_SERVICE is.")
    return Place(
        namespace,
        service,
        _port("DSO_CUSTOM_METRICS_PORT", "8443"),
        os.environ.get("DSO_CLUSTER_ROLE", ""),
    )


def _labels(text: str) -> dict[str, str]:
    """Labels written as `name=value,name=value`."""
    pairs = [item.partition("=") for item in text.split(",") if item]
    if not all(name and sign for name, sign, _ in pairs):
        raise StartError(f"DSO_POD_MONITOR_LABELS must be name=value,name=value, not {text!r}.")
    return {name: value for name, _, value in pairs}


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run until `stop` is set.

    Raises:
        StartError: There is no cluster, no CRD, or the port is taken.
    """
    cache = Cache()
    queue: WorkQueue[Key] = WorkQueue()
    ready = asyncio.Event()
    try:
        runner = await health.serve(options.port, cache, queue, ready)
    except OSError as error:
        raise StartError(
            f"Port {options.port} can't be used: {error}. Set DSO_HTTP_PORT."
        ) from error
    try:
        async with connect() as client:
            optional = OptionalKinds(client, cache, queue)
            await optional.look()
            await workers.fill(client, cache, queue)
            ready.set()
            logger.info("%d resources found", len(cache.resources()))
            reconciler = Reconciler(client, cache, options.settings, Hub())
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(workers.resync(client, cache, queue)),
                    *_serve_custom_metrics(tasks, client, cache, queue, options.custom_metrics),
                    tasks.create_task(optional.follow()),
                    tasks.create_task(loading.follow(cache, queue)),
                    *(
                        tasks.create_task(workers.work(queue, reconciler))
                        for _ in range(workers.WORKERS)
                    ),
                ]
                await harness.watch(cache, queue, stop, asyncio.Event())
                for task in background:
                    task.cancel()
    except ConfigException as error:
        raise StartError(
            f"No cluster: neither a service account nor a kubeconfig was found ({error})."
        ) from error
    except NotFoundError as error:
        raise StartError(
            "The cluster does not know DeepSeekDeployment. Install the CRD: "
            "kubectl apply -f crds/, or helm with crds.enabled=true."
        ) from error
    except ApiError as error:
        raise StartError(f"The API server can't be used: {error}") from error
    finally:
        await runner.cleanup()


def _serve_custom_metrics(
    tasks: asyncio.TaskGroup,
    client: Client,
    cache: Cache,
    queue: WorkQueue[Key],
    place: Place | None,
) -> list[asyncio.Task[None]]:
    if place is None:
        return []

    def tell(other: str) -> None:
        for key in cache.metrics_served_by(other):
            queue.add(key)

    server = Server(client, place)
    registration = Registration(client, place, lambda: server.listens, tell)
    return [
        tasks.create_task(server.serve()),
        tasks.create_task(registration.keep()),
    ]


async def _main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    options = Options.from_environment()
    read_catalogue(options.catalogue)
    await run(options, stop)


def main() -> None:
    """Run the operator until a signal ends it."""
    set_up(os.environ.get("DSO_LOG_LEVEL", "info"), os.environ.get("DSO_LOG_FORMAT", "plain"))
    try:
        asyncio.run(_main())
    except StartError as error:
        logger.error("%s", error)
        sys.exit(1)
