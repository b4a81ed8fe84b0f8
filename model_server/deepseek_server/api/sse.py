"""Server-sent events: streaming of an answer while it is generated.

Each event is `data:` and a JSON value; the last is `data: [DONE]`. An error within a stream is an
event of its own, after which the stream ends without `[DONE]`. After a period of silence a comment
is sent, so that proxies and clients do not time out.

One task sends the events directly from the answer, a second one sends heartbeats, and a third one
waits for the client to disconnect. A task or a timer for each event would cost more than the event.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from deepseek_server.api import deadline, errors
from deepseek_server.engine.types import EngineClosedError, EngineError
from deepseek_server.server import request_record as record

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class EventStream(Response):
    """A response of server-sent events.

    Args:
        events: the JSON values, in order.
        release: called once when the response has ended, for whatever reason; also if the client
            disconnected before it started.
        heartbeat: seconds of silence after which a comment is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[dict[str, Any]],
        release: Callable[[], None],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._events, self._release, self._heartbeat = events, release, heartbeat
        self._last_sent = 0.0
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client disconnects."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            self._last_sent = _now()
            sending = asyncio.create_task(self._send_events(send))
            leaving = asyncio.create_task(_disconnected(receive))
            tasks += [sending, leaving, asyncio.create_task(self._send_heartbeats(send))]
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in tasks:
                task.cancel()
            self._release()

    async def _send_events(self, send: Send) -> None:
        """Send the events, then `[DONE]` or an error event."""
        served = record.current()
        try:
            async with asyncio.timeout(served.seconds_left) as limit:
                async for event in self._events:
                    self._last_sent = _now()
                    await send(_part(encode(event)))
        except Exception as error:
            end = _failure(deadline.exceeded(served) if limit.expired() else error)
        else:
            end = DONE
        await send({**_part(end), "more_body": False})

    async def _send_heartbeats(self, send: Send) -> None:
        """Send a comment after each `heartbeat` seconds of silence."""
        while True:
            left = self._last_sent + self._heartbeat - _now()
            if left > 0:
                await asyncio.sleep(left)
            else:
                self._last_sent = _now()
                await send(_part(PING))


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(content: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": True}


def _failure(error: Exception) -> bytes:
    """Return the last event of a stream that failed."""
    if isinstance(error, HTTPException):
        status, message = error.status_code, error.detail
        code = getattr(error, "code", None) or "generation_failed"
    elif isinstance(error, EngineError):
        status = 503 if isinstance(error, EngineClosedError) else 500
        message, code = str(error), "generation_failed"
    else:
        log.error("stream failed", exc_info=error)
        status, message, code = 500, errors.fault_message(error), "internal_error"
    record.current().error = code
    return encode(errors.body(status, message, code=code))


def encode(value: dict[str, Any]) -> bytes:
    """Return the bytes of one event."""
    text = _JSON.encode(value)
    # The tokenizer produces no lone surrogates, but one must not end a stream either.
    return b"data: " + text.encode(errors="replace") + b"\n\n"
