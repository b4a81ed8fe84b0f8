"""The server process: opens the port, loads the model beside it, drains and ends.

The port is open before anything else happens, so that probes and people can ask what it is doing.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from deepseek_server.api.middleware import Rules
from deepseek_server.app import create_app, rules
from deepseek_server.config import Config, Listen
from deepseek_server.failures import PermanentError, StartError, report
from deepseek_server.lifecycle import Lifecycle
from deepseek_server.metrics import Metrics
from deepseek_server.serving import ServedModel
from deepseek_server.startup import start

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 3.0
# What connections may still take after the drain, to write their last bytes.
CLOSING_SECONDS = 2


def serve(config: Config) -> int:
    """Run the server; returns the exit code.

    Raises:
        StartError: the port cannot be opened, or what requests must keep to cannot be read.
    """
    asked = rules(config)
    try:
        return asyncio.run(_serve(config, asked, _open(config.listen)))
    finally:
        if asked.tracer is not None:
            asked.tracer.close()


def _open(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        opened = socket.create_server((listen.host, listen.port), family=family, backlog=1024)
    except OSError as error:
        raise PermanentError(
            f"cannot listen on {listen.host} port {listen.port} ({error.strerror}): "
            "choose another host or port (listen in the configuration file, --host, --port)"
        ) from error
    return opened


class _Server(uvicorn.Server):
    """Leaves it to us what a signal means."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured: a first signal asks for a drain, not for the end."""
        yield


def _listen_to_signals(server: _Server, stop: asyncio.Event) -> None:
    """The first signal asks for a drain, a second one ends it."""

    def received(number: signal.Signals) -> None:
        log.info("received %s", number.name)
        if stop.is_set():
            server.should_exit = server.force_exit = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received, number)


async def _serve(config: Config, asked: Rules, opened: socket.socket) -> int:
    lifecycle = Lifecycle(config.model, config.start_seconds)
    metrics = Metrics(config.model.name)
    stop = asyncio.Event()
    server = _Server(
        uvicorn.Config(
            create_app(lifecycle, metrics, asked),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
    )
    _listen_to_signals(server, stop)
    host = f"[{config.listen.host}]" if ":" in config.listen.host else config.listen.host
    log.info("listening on http://%s:%d", host, opened.getsockname()[1])
    serving = asyncio.create_task(server.serve(sockets=[opened]))
    stopping = asyncio.create_task(stop.wait())
    try:
        return await _load_and_drain(config, lifecycle, metrics, server, stopping)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving


async def _load_and_drain(
    config: Config,
    lifecycle: Lifecycle,
    metrics: Metrics,
    server: _Server,
    stopping: asyncio.Task[bool],
) -> int:
    loading = _load_in_thread(config, lifecycle)
    either: set[asyncio.Future[Any]] = {loading, stopping}
    while not loading.done() and not stopping.done():
        await asyncio.wait(either, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            log.info("%s", lifecycle.progress)
    if not loading.done():
        return 0
    try:
        served = await loading
    except StartError as error:
        lifecycle.fail(str(error))
        return report(error)
    metrics.watch(served.engine)
    lifecycle.ready(served)
    log.info("ready: %s, context %d tokens", served.name, served.engine.limits.context)
    await stopping
    await _drain(config.drain_seconds, lifecycle, server)
    await served.engine.close()
    return 0


def _load_in_thread(config: Config, lifecycle: Lifecycle) -> asyncio.Future[ServedModel]:
    """Load in a daemon thread, which a process that is told to end does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[ServedModel] = loop.create_future()

    def settle(result: ServedModel | Exception) -> None:
        if future.cancelled():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def work() -> None:
        try:
            result: ServedModel | Exception = start(config, lifecycle.progress)
        except StartError as error:
            result = error
        except Exception as error:
            log.exception("loading failed")
            result = PermanentError(
                f"loading {config.model.id} failed ({type(error).__name__}: {error}): "
                "the log of the model server says more"
            )
        loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=work, name="loading", daemon=True).start()
    return future


async def _drain(seconds: float, lifecycle: Lifecycle, server: _Server) -> None:
    """Wait for running requests; what is left then is ended in-band by closing the engine."""
    lifecycle.drain()
    log.info("draining: %d requests run, up to %g s", lifecycle.in_flight, seconds)
    deadline = asyncio.get_running_loop().time() + seconds
    while lifecycle.in_flight and not server.should_exit:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            log.warning("ending %d requests that still run", lifecycle.in_flight)
            break
        try:
            await asyncio.wait_for(lifecycle.idle.wait(), min(left, 0.2))
        except TimeoutError:
            continue
