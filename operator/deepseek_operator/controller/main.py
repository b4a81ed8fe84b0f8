"""Startup and shutdown of the operator process: `python -m deepseek_operator`."""

import asyncio
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.config import ConfigException

from deepseek_operator.catalog import entries
from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.client import connect
from deepseek_operator.cluster.errors import ApiError, NotFoundError
from deepseek_operator.controller import health
from deepseek_operator.controller.health import Health
from deepseek_operator.controller.leading import Leading
from deepseek_operator.controller.lease import Lease, LeaseLostError
from deepseek_operator.controller.logs import set_up
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.custom_metrics.server import Server
from deepseek_operator.custom_metrics.serving import Place
from deepseek_operator.plan.state.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

LEASE_NAME = "deepseek-operator"


class StartError(Exception):
    """The operator can't start; the message names the cause and the fix."""


@dataclass(frozen=True)
class Options:
    """Configuration of the process, from environment variables.

    Attributes:
        settings: Defaults for all resources.
        port: HTTP port of probes and metrics.
        namespace: Namespace of the operator itself, where its Lease is.
        identity: Identity of this process in the Lease.
        catalogue: File with the installation's own entries, None if it has none.
        custom_metrics: Service of the custom metrics API, None if it is not served.
    """

    settings: Settings
    port: int
    namespace: str
    identity: str
    catalogue: Path | None = None
    custom_metrics: Place | None = None

    @classmethod
    def from_environment(cls) -> "Options":
        """Read the variables that the chart sets.

        Raises:
            StartError: A variable is missing or not a number.
        """
        try:
            settings = Settings.of(os.environ)
        except SettingsError as error:
            raise StartError(str(error)) from error
        namespace = settings.namespace
        own = os.environ.get("DSO_CATALOG", "")
        return cls(
            settings=settings,
            port=_port("DSO_HTTP_PORT", "8080"),
            namespace=namespace or "default",
            # Outside a cluster the PID distinguishes two processes on one machine.
            identity=os.environ.get("DSO_POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
            catalogue=Path(own) if own else None,
            custom_metrics=_custom_metrics(namespace or "default"),
        )


def read_catalogue(own: Path | None) -> None:
    """Load the catalogue with the installation's own entries, so that errors show at start.

    Raises:
        StartError: An entry is invalid.
    """
    try:
        if own:
            entries.add(own)
        known = len(list(models())), len(accelerators().profiles)
    except entries.EntryError as error:
        raise StartError(f"The catalogue can't be used: {error}") from error
    logger.info("Loaded the catalogue: %d models, %d GPU types", *known)


def _port(variable: str, default: str) -> int:
    port = os.environ.get(variable, default)
    if not port.isdigit():
        raise StartError(f"{variable} must be a port number, not {port!r}.")
    return int(port)


def _custom_metrics(namespace: str) -> Place | None:
    service = os.environ.get("DSO_CUSTOM_METRICS_SERVICE", "")
    if not service:
        return None
    port = _port("DSO_CUSTOM_METRICS_PORT", "8443")
    return Place(namespace, service, port, os.environ.get("DSO_CLUSTER_ROLE", ""))


async def run(options: Options, stop: asyncio.Event) -> None:
    """Stand by until this process becomes the leader, and lead until `stop` is set.

    Raises:
        StartError: No cluster is configured or reachable, the CRD is missing, or the port is taken.
        LeaseLostError: Another process leads, or may lead by now.
    """
    status = Health(Cache(), WorkQueue())
    try:
        runner = await health.serve(options.port, status)
    except OSError as error:
        raise StartError(
            f"Can't listen on port {options.port}: {error}. Set DSO_HTTP_PORT to a free port."
        ) from error
    try:
        async with connect() as client:
            lease = Lease(client, options.namespace, LEASE_NAME, options.identity)
            place = options.custom_metrics
            server = Server(client, place) if place else None
            # Every replica serves this API, not only the leader.
            serving = asyncio.create_task(server.serve()) if server else None
            try:
                if await _leads(lease, status, stop):
                    try:
                        leading = Leading(client, lease, options.settings, status, server)
                        await leading.run(stop)
                    finally:
                        await lease.release()
            finally:
                if serving:
                    serving.cancel()
                    await asyncio.wait([serving])
    except ConfigException as error:
        raise StartError(
            f"No cluster configured: found neither a service account nor a kubeconfig ({error}). "
            "Run the operator in a pod, or set KUBECONFIG."
        ) from error
    except NotFoundError as error:
        raise StartError(
            "The DeepSeekDeployment CRD is not installed. Install it with "
            "kubectl apply -f crds/, or with Helm and crds.enabled=true."
        ) from error
    except ApiError as error:
        raise StartError(f"A request to the API server failed: {error}") from error
    finally:
        await runner.cleanup()


async def _leads(lease: Lease, status: Health, stop: asyncio.Event) -> bool:
    """Stand by until this process leads; return False if it is stopped before."""
    standing_by = asyncio.Event()

    async def tell() -> None:
        await standing_by.wait()
        status.state = health.STANDING_BY

    acquiring = asyncio.create_task(lease.acquire(standing_by))
    telling = asyncio.create_task(tell())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([acquiring, stopping], return_when=asyncio.FIRST_COMPLETED)
        if acquiring.done():
            acquiring.result()
            status.state = health.STARTING
            return True
        return False
    finally:
        for task in (acquiring, telling, stopping):
            task.cancel()


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
    except (StartError, LeaseLostError) as error:
        logger.error("%s", error)
        sys.exit(1)
