"""Server-sent events: how an answer reaches a client while it grows.

Each event is `data:` and a JSON value; the last is `data: [DONE]`. An error in the middle is an
event of its own, after which the stream ends without `[DONE]`. Where nothing is to be said for a
while a comment keeps proxies and clients from giving up.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from deepseek_server.api import errors
from deepseek_server.engine.interface import EngineClosedError, EngineError

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """A response of events.

    Args:
        events: the JSON values, in order.
        release: called once the response has ended, in whatever way; also when the client was
            gone before it began.
        heartbeat: seconds of silence after which a comment is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[dict[str, Any]],
        release: Callable[[], None],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._release = release
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_encode(events, heartbeat), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they or the client are gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


async def _encode(
    events: AsyncIterator[dict[str, Any]], heartbeat: float
) -> AsyncGenerator[bytes, None]:
    while True:
        coming = asyncio.ensure_future(anext(events, None))
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=heartbeat)
                if not coming.done():
                    yield PING
            event = coming.result()
        except EngineError as error:
            status = 503 if isinstance(error, EngineClosedError) else 500
            yield encode(errors.body(status, str(error), code="generation_failed"))
            return
        except Exception as error:
            log.exception("a stream failed")
            message = f"the server failed on this request ({type(error).__name__})"
            yield encode(errors.body(500, message, code="internal_error"))
            return
        finally:
            coming.cancel()
        if event is None:
            yield DONE
            return
        yield encode(event)


def encode(value: dict[str, Any]) -> bytes:
    """One event."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate cannot come out of the tokenizer, but must not end a stream either.
    return b"data: " + text.encode(errors="replace") + b"\n\n"
