"""Client of the engine process: streams of text for the API.

Requests are sent over a connection; tokens come back, those of one step in one message. A stream
returns everything that has arrived since the last read, so that a slow reader gets fewer and longer
pieces instead of delaying others.
"""

import asyncio
import logging
import queue
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Self

from deepseek_server.engine.answer import Answer
from deepseek_server.engine.ipc import Cancel, Close, Command, Failure, Lost, Report, Token
from deepseek_server.engine.types import (
    EngineClosedError,
    EngineError,
    EngineGoneError,
    FinishReason,
    Limits,
    Load,
    Logprobs,
    Output,
    QueueFullError,
    Request,
    Totals,
)
from deepseek_server.engine.watchdog import Watchdog

log = logging.getLogger(__name__)

Decode = Callable[[Sequence[int]], str]


class Stream:
    """The outputs of one request, read on the event loop that created it."""

    def __init__(self, request: Request, decode: Decode, cancel: Callable[[str], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._request, self._cancel = request, cancel
        self._answer = Answer(request.sampling, decode)
        self._arrived: list[Token] = []
        self._error: EngineError | None = None
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        while not self._arrived and self._error is None:
            if self._ended:
                raise StopAsyncIteration
            self._reader = self.loop.create_future()
            await self._reader
        if self._arrived and not self._ended:
            try:
                return self._take()
            except Exception as reason:  # text that cannot be decoded only affects this request
                log.exception("request %s failed", self._request.id)
                self._ended = True
                self.cancel()
                message = f"generation failed: {type(reason).__name__}: {reason}"
                raise EngineError(message) from reason
        self._ended = True
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def cancel(self) -> None:
        """Stop generating; safe to call at any time and repeatedly."""
        self._cancel(self._request.id)

    def put(self, token: Token) -> None:
        """Add a token that has arrived; only on the event loop."""
        self._arrived.append(token)
        self._wake()

    def fail(self, error: EngineError) -> None:
        """End the stream with an error; only on the event loop."""
        if self._error is None and not self._ended:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _take(self) -> Output:
        """Return everything that has arrived as one output."""
        arrived, self._arrived = self._arrived, []
        ids: list[int] = []
        texts: list[str] = []
        logprobs: list[Logprobs] = []
        reason: FinishReason | None = None
        for token in arrived:
            text, reason = self._answer.push(token.token, token.finish_reason)
            ids.append(token.token)
            texts.append(text)
            if token.logprobs is not None:
                logprobs.append(token.logprobs)
            if reason is not None:
                break
        if reason is not None:
            self._ended = True
            if arrived[-1].finish_reason is None:  # ended by a stop string, unknown to the engine
                self.cancel()
        first = arrived[0]
        return Output(
            tuple(ids),
            "".join(texts),
            reason,
            first.cached_tokens,
            tuple(logprobs),
            first.queue_seconds,
        )


class EngineClient:
    """Implementation of engine.types.Engine over a connection to a ready engine.

    Args:
        connection: the connection to the engine.
        decode: converts token ids to text, without special tokens.
        limits: the engine's limits.
        max_num_seqs: maximum number of running requests.
        ended: returns why the engine has ended, once the connection has.
        finish: waits until an engine that was asked to close has ended.
        watchdog: detects a stuck engine.
    """

    def __init__(
        self,
        connection: Connection,
        decode: Decode,
        limits: Limits,
        max_num_seqs: int,
        ended: Callable[[], str],
        finish: Callable[[], None],
        watchdog: Watchdog,
    ) -> None:
        self._connection, self._decode, self._limits = connection, decode, limits
        self._max_num_seqs, self._why_ended, self._finish = max_num_seqs, ended, finish
        self._watchdog = watchdog
        self._streams: dict[str, Stream] = {}
        self._running, self._cache = 0, 0.0
        self._totals = Totals()
        self._closed = False
        self._fault = ""
        # Sending blocks if the engine is slow to read; the event loop must not block.
        self._outbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, name=f"engine {name}", daemon=True)
            for name, work in (("reader", self._read), ("writer", self._write))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def limits(self) -> Limits:
        """The context length and the length of the queue."""
        return self._limits

    @property
    def load(self) -> Load:
        """The current load, without cancelled requests."""
        running = min(self._running, len(self._streams))
        return Load(running, len(self._streams) - running, self._cache)

    @property
    def totals(self) -> Totals:
        """The totals of the engine's last report that had them."""
        return self._totals

    @property
    def alive(self) -> bool:
        """Whether the engine runs and makes progress, or was closed on purpose."""
        return self._closed or not (self._fault or self._watchdog.stuck)

    def submit(self, request: Request) -> Stream:
        """Queue a request; see Engine.submit."""
        if self._closed:
            raise EngineClosedError("the server is shutting down")
        if self._fault:
            raise EngineGoneError(self._fault)
        waiting = len(self._streams) - self._max_num_seqs
        if waiting >= self._limits.waiting:
            raise QueueFullError(f"{waiting} requests are already waiting")
        stream = Stream(request, self._decode, self._cancel)
        self._streams[request.id] = stream
        self._send(_seeded(request))
        return stream

    async def close(self) -> None:
        """End all requests and the engine."""
        self._closed = True
        self._end_all(EngineClosedError("the server is shutting down"))
        self._outbox.put(Close())
        self._outbox.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 5)
        await asyncio.to_thread(self._finish)
        self._connection.close()

    def _cancel(self, request_id: str) -> None:
        if self._streams.pop(request_id, None) is not None:
            self._send(Cancel(request_id))

    def _send(self, command: Command) -> None:
        self._watchdog.expect()
        self._outbox.put(command)

    def _write(self) -> None:
        while (command := self._outbox.get()) is not None:
            try:
                self._connection.send(command)
            except OSError:  # the reader thread finds the reason
                return

    def _read(self) -> None:
        reason = ""
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, Lost):
                # The process may hang while it ends, so do not wait for it.
                reason = message.reason
                break
            if isinstance(message, Report):
                self._running, self._cache = message.load.running, message.load.cache
                self._totals = message.totals or self._totals
                self._hand_over(message.results)
                self._watchdog.record_report(busy=bool(self._streams))
        if not self._closed:
            self._fault = reason or self._why_ended()
            log.error("the engine has ended: %s", self._fault)
            self._end_all(EngineError(self._fault))

    def _hand_over(self, results: Iterable[Token | Failure]) -> None:
        """Pass results to their streams, with one wake-up per event loop."""
        deliveries: defaultdict[asyncio.AbstractEventLoop, list[tuple[Stream, Token | Failure]]]
        deliveries = defaultdict(list)
        for result in results:
            ends = isinstance(result, Failure) or result.finish_reason is not None
            of = self._streams.pop if ends else self._streams.get
            stream = of(result.request, None)
            if stream is not None:
                deliveries[stream.loop].append((stream, result))
        for loop, of_loop in deliveries.items():
            _on_loop(loop, _deliver, of_loop)

    def _end_all(self, error: EngineError) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            _on_loop(stream.loop, stream.fail, error)


def _seeded(request: Request) -> Request:
    """Return a request with a seed, since all ranks of an engine must draw the same numbers."""
    if request.sampling.seed is not None:
        return request
    return replace(request, sampling=replace(request.sampling, seed=secrets.randbits(64)))


def _deliver(deliveries: list[tuple[Stream, Token | Failure]]) -> None:
    for stream, result in deliveries:
        if isinstance(result, Failure):
            stream.fail(EngineError(result.reason))
        else:
            stream.put(result)


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], value: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, value)
    except RuntimeError:  # the event loop is closed, and all its readers have ended
        log.debug("dropped results: the event loop is closed")
