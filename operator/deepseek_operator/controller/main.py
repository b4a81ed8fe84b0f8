"""Start and stop of the operator: `python -m deepseek_operator`."""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass

from kubernetes.aio.config import ConfigException

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.client import NotFoundError, connect
from deepseek_operator.cluster.errors import ApiError
from deepseek_operator.controller import harness, health, loading, workers
from deepseek_operator.controller.logs import set_up
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.controller.reconciler import Reconciler
from deepseek_operator.plan.settings import Settings

logger = logging.getLogger(__name__)


class StartError(Exception):
    """The operator can't start; the text says why and what to do."""


@dataclass(frozen=True)
class Options:
    """What the environment says."""

    settings: Settings
    port: int

    @classmethod
    def from_environment(cls) -> "Options":
        """Read the variables that the chart sets.

        Raises:
            StartError: One is missing or no number.
        """
        image = os.environ.get("DSO_SERVER_IMAGE", "")
        if not image:
            raise StartError("DSO_SERVER_IMAGE is not set: it names the image of the model server.")
        port = os.environ.get("DSO_HTTP_PORT", "8080")
        if not port.isdigit():
            raise StartError(f"DSO_HTTP_PORT must be a port number, not {port!r}.")
        settings = Settings(
            server_image=image,
            server_pull_policy=os.environ.get("DSO_SERVER_PULL_POLICY", ""),
            hub_endpoint=os.environ.get("DSO_HUB_ENDPOINT", ""),
        )
        return cls(settings, int(port))


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
            await workers.fill(client, cache, queue)
            ready.set()
            logger.info("%d resources found", len(cache.resources()))
            reconciler = Reconciler(client, cache, options.settings)
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(workers.resync(client, cache, queue)),
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


async def _main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await run(Options.from_environment(), stop)


def main() -> None:
    """Run the operator until a signal ends it."""
    set_up(os.environ.get("DSO_LOG_LEVEL", "info"), os.environ.get("DSO_LOG_FORMAT", "plain"))
    try:
        asyncio.run(_main())
    except StartError as error:
        logger.error("%s", error)
        sys.exit(1)
