"""Load generation: sends requests to a server and records the responses.

Closed loop: a fixed number of concurrent requests; the end of one starts the next. It measures the
throughput of a server. Open loop: requests arrive at given times, whether or not earlier ones are
done, as from real users. It measures latency.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from benchmarks.server.client.http import Connection, ProtocolError
from benchmarks.server.client.sse import EventReader
from benchmarks.server.client.target import Target
from benchmarks.server.client.timing import Exchange

OnExchange = Callable[[Exchange], object]


@dataclass(frozen=True)
class Closed:
    """A closed-loop load.

    Attributes:
        messages: the complete HTTP requests.
        at_once: number of concurrent requests.
        seconds: time after which no request is started any more.
        cut_seconds: time after which running requests are cancelled.
    """

    messages: Sequence[bytes]
    at_once: int
    seconds: float = float("inf")
    cut_seconds: float = float("inf")


@dataclass(frozen=True)
class Open:
    """An open-loop load: requests at given times.

    Attributes:
        messages: the complete HTTP requests.
        starts: time at which each is sent, in seconds from the start.
        cut_seconds: time after which running requests are cancelled.
    """

    messages: Sequence[bytes]
    starts: Sequence[float]
    cut_seconds: float = float("inf")


def poisson(rate: float, count: int, seed: int = 0) -> list[float]:
    """Return the arrival times of a Poisson process: requests of many independent users.

    Args:
        rate: mean requests per second.
        count: number of requests.
        seed: the same seed gives the same times.
    """
    random, times, now = Random(seed), [], 0.0  # noqa: S311 - nothing secret
    for _ in range(count):
        now += random.expovariate(rate)
        times.append(now)
    return times


def run(
    target: Target, load: Closed | Open, on_exchange: OnExchange = lambda _: None
) -> list[Exchange]:
    """Run a load to its end; return the recorded exchanges.

    Args:
        target: the server.
        load: the load.
        on_exchange: called with each exchange when it ends.
    """
    with _no_pauses():
        return asyncio.run(_run(target, load, on_exchange))


async def _run(target: Target, load: Closed | Open, on_exchange: OnExchange) -> list[Exchange]:
    pool = _Pool(target, on_exchange)
    work = _closed(pool, load) if isinstance(load, Closed) else _open(pool, load)
    cut = None if load.cut_seconds == float("inf") else load.cut_seconds
    try:
        async with asyncio.timeout(cut):
            await work
    except TimeoutError:
        pass
    finally:
        pool.close()
    return pool.exchanges


async def _closed(pool: "_Pool", load: Closed) -> None:
    messages = iter(load.messages)
    end = time.monotonic() + load.seconds

    async def worker() -> None:
        for message in messages:
            if time.monotonic() >= end:
                return
            await pool.exchange(message)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(load.at_once, len(load.messages))):
            group.create_task(worker())


async def _open(pool: "_Pool", load: Open) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for start, message in zip(load.starts, load.messages, strict=True):
            await asyncio.sleep(max(0.0, began + start - time.monotonic()))
            group.create_task(pool.exchange(message))


class _Pool:
    """A pool of reusable connections to one server."""

    def __init__(self, target: Target, on_exchange: OnExchange) -> None:
        self.exchanges: list[Exchange] = []
        self._target, self._on_exchange = target, on_exchange
        self._free: list[Connection] = []

    async def exchange(self, message: bytes) -> None:
        """Send a request and record the response; failures are recorded, not raised."""
        exchange = Exchange(sent=time.monotonic())
        self.exchanges.append(exchange)
        reader = EventReader()

        def arrived(body: bytes) -> None:
            now = time.monotonic()
            if events := reader.feed(body):
                exchange.events += [(now, event) for event in events]
            elif not exchange.events:
                exchange.body += body

        try:
            connection = await self._connection()
            exchange.status = await connection.request(message, arrived)
            if connection.usable:
                self._free.append(connection)
        except asyncio.CancelledError:
            exchange.cut = True
            raise
        except (OSError, ProtocolError) as error:
            exchange.error = f"{type(error).__name__}: {error}"
        finally:
            exchange.ended = time.monotonic()
            self._on_exchange(exchange)

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._free:
            connection.close()

    async def _connection(self) -> Connection:
        while self._free:
            if (connection := self._free.pop()).usable:
                return connection
        return await Connection.open(self._target.host, self._target.port)


@contextmanager
def _no_pauses() -> Iterator[None]:
    """Disable garbage collection during the block: it would pause all streams."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def fetch(target: Target, path: str) -> tuple[int, bytes]:
    """Return status and body of a GET request.

    Raises:
        OSError: the server cannot be reached.
        ProtocolError: its response is not HTTP.
    """
    parts: list[bytes] = []
    connection = await Connection.open(target.host, target.port)
    try:
        status = await connection.request(target.get(path), parts.append)
    finally:
        connection.close()
    return status, b"".join(parts)
