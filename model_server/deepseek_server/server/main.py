"""The server process: opens the port, loads the model in the background, drains and ends.

The port is opened first, so that probes and users can query the state of the start.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import uvicorn

from deepseek_server.api.middleware import Rules
from deepseek_server.config import Config, Listen
from deepseek_server.distributed.gang import Pod
from deepseek_server.errors import PermanentError, StartError, report
from deepseek_server.metrics import Metrics
from deepseek_server.server.app import create_app, rules
from deepseek_server.server.follower import GangMember
from deepseek_server.server.lifecycle import Lifecycle
from deepseek_server.server.served_model import ServedModel
from deepseek_server.server.startup import await_end, follow, start

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 3.0
# Time for connections to write their last bytes after the drain.
CLOSING_SECONDS = 2
# Time for the leader of a gang to end its engine after the drain.
LEADER_SECONDS = 15.0
LOOK_SECONDS = 0.2
# Interval in seconds at which a follower that shuts down checks for its leader, and the number of
# failed checks after which it ends. The leader's close message to its ranks normally comes first.
FIND_SECONDS, MISSED = 1.0, 3

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


def serve(config: Config) -> int:
    """Run the server and return the exit code.

    Raises:
        StartError: the port cannot be opened, the API keys cannot be read, tracing is not installed,
            or the environment contradicts the configuration of the gang.
    """
    asked = rules(config)
    pod = None if config.gang is None else Pod.from_environment(config.gang)
    try:
        return asyncio.run(_serve(config, asked, _open(config.listen), pod))
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
    # Connections inherit it. asyncio sets it only if a socket names its protocol, which an accepted
    # one does not; without it every second chunk of a stream waits 40 ms for an acknowledgement.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to this module."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals: the first one starts a drain instead of an exit."""
        yield


def _listen_to_signals(server: _Server, stop: asyncio.Event) -> None:
    """Start a drain on the first signal and end it on the second."""

    def received(number: signal.Signals) -> None:
        log.info("received %s", number.name)
        if stop.is_set():
            server.should_exit = server.force_exit = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received, number)


async def _serve(config: Config, asked: Rules, opened: socket.socket, pod: Pod | None) -> int:
    lifecycle = Lifecycle(config.model, config.start_seconds)
    member = None if pod is None else GangMember(config, pod, lifecycle)
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
        if member is not None and not member.leads:
            return await _follow(config, member, lifecycle, server, stopping)
        return await _load_and_drain(config, member, lifecycle, metrics, server, stopping)
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving


async def _load_and_drain(
    config: Config,
    member: GangMember | None,
    lifecycle: Lifecycle,
    metrics: Metrics,
    server: _Server,
    stopping: asyncio.Task[bool],
) -> int:
    if member is None:
        loading = _loading(config, lambda: start(config, lifecycle.progress))
    else:
        launch = member.launch
        loading = _loading(
            config, lambda: start(config, lifecycle.progress, launch, member.record_network)
        )
    try:
        served = await _loaded(loading, member, lifecycle, stopping)
    except StartError as error:
        lifecycle.fail(str(error))
        return report(error)
    if served is None:
        return 0
    metrics.watch(served.engine)
    lifecycle.ready(served)
    log.info("ready: %s, context %d tokens", served.name, served.engine.limits.context)
    if member is not None and not await _asked_to_end(served, stopping):
        failed = await asyncio.to_thread(member.failure)
        lifecycle.fail(str(failed))
        await served.engine.close()
        return report(failed)
    await stopping
    await _drain(config.drain_seconds, lifecycle, server)
    await served.engine.close()
    return 0


async def _asked_to_end(served: ServedModel, stopping: asyncio.Task[bool]) -> bool:
    """Wait for the end of a gang's engine; return whether a signal requested it.

    A single pod that has lost its engine is ended by its liveness probe. The pods of a gang end by
    themselves, so that exit codes and termination messages tell the first cause from its consequences.
    """
    while served.engine.alive and not stopping.done():
        await asyncio.wait({stopping}, timeout=LOOK_SECONDS)
    return stopping.done()


async def _follow(
    config: Config,
    member: GangMember,
    lifecycle: Lifecycle,
    server: _Server,
    stopping: asyncio.Task[bool],
) -> int:
    """Run a follower until the leader or a rank of the model ends."""
    launch = member.launch
    loading = _loading(
        config, lambda: follow(config, lifecycle.progress, launch, member.record_network)
    )
    try:
        worker = await _loaded(loading, member, lifecycle, stopping)
    except StartError as error:
        lifecycle.fail(str(error))
        return report(error)
    if worker is None:
        return 0
    lifecycle.follow()
    log.info("ready: %s", lifecycle.detail())
    ending = _in_thread("following", lambda: await_end(worker))
    either: set[asyncio.Future[Any]] = {ending, stopping}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if ending.done():
        failed = await ending
        if failed is None:
            return 0
        lifecycle.fail(str(failed))
        return report(failed)
    await _leave_with_leader(
        config.drain_seconds + LEADER_SECONDS, ending, member, lifecycle, server
    )
    member.end()
    return 0


async def _leave_with_leader(
    seconds: float,
    ending: asyncio.Future[Any],
    member: GangMember,
    lifecycle: Lifecycle,
    server: _Server,
) -> None:
    """Wait for the leader to drain, whose requests need this pod until they have ended.

    A rank that is frozen or disconnected does not notice the leader's end, so this polls for it.
    """
    lifecycle.drain()
    log.info("waiting up to %g s for the leader to drain", seconds)
    deadline = asyncio.get_running_loop().time() + seconds
    missed = 0
    while not ending.done() and not server.should_exit:
        if asyncio.get_running_loop().time() >= deadline:
            log.warning("the leader did not drain in time; shutting down without it")
            break
        missed = 0 if await asyncio.to_thread(member.leader_is_reachable) else missed + 1
        if missed == MISSED:
            log.warning("the leader is gone; shutting down")
            break
        await asyncio.wait({ending}, timeout=FIND_SECONDS)


async def _loaded(
    loading: asyncio.Future[Loaded],
    member: GangMember | None,
    lifecycle: Lifecycle,
    stopping: asyncio.Task[bool],
) -> Loaded | None:
    """Wait for a start and log its progress; return None if a signal ends it before.

    Raises:
        StartError: the start failed.
    """
    either: set[asyncio.Future[Any]] = {loading, stopping}
    while not loading.done() and not stopping.done():
        await asyncio.wait(either, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            log.info("%s", lifecycle.detail())
    if loading.done():
        return await loading
    if member is not None:
        await asyncio.to_thread(member.end)
    return None


def _loading(config: Config, begin: Callable[[], Loaded]) -> asyncio.Future[Loaded]:
    """Start in a thread; turn unexpected exceptions into a StartError."""

    def work() -> Loaded:
        try:
            return begin()
        except StartError:
            raise
        except Exception as error:
            log.exception("loading failed")
            raise PermanentError(
                f"loading {config.model.id} failed ({type(error).__name__}: {error}): "
                "see the log of the model server"
            ) from error

    return _in_thread("loading", work)


def _in_thread(name: str, work: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run a function in a daemon thread, which does not delay the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("Result", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as reason:
            error = reason
        loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def _drain(seconds: float, lifecycle: Lifecycle, server: _Server) -> None:
    """Wait for running requests; closing the engine ends the rest with an error."""
    lifecycle.drain()
    log.info("draining: %d requests in flight, up to %g s", lifecycle.in_flight, seconds)
    deadline = asyncio.get_running_loop().time() + seconds
    while lifecycle.in_flight and not server.should_exit:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            log.warning("drain timeout: aborting %d requests", lifecycle.in_flight)
            break
        try:
            await asyncio.wait_for(lifecycle.idle.wait(), min(left, 0.2))
        except TimeoutError:
            continue
