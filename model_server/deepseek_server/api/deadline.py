"""How long a request may take.

The server's configuration has a limit for all, and a client may ask for less with the header
X-Request-Timeout. When it has passed, the request is cancelled, which frees its place in the
engine; the client gets a 504, or, where the answer is a stream that has begun, an event of that
kind at its end, which the stream itself sees to.
"""

import asyncio
import math

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope

from deepseek_server.api.errors import APIError, invalid, response
from deepseek_server.api.reply import Reply
from deepseek_server.server.request_record import Record

HEADER = "X-Request-Timeout"


def seconds_for(headers: Headers, limit: float | None) -> float | None:
    """The seconds that a request may take.

    Args:
        headers: of the request.
        limit: what the server's configuration allows; None or 0 is unlimited.

    Raises:
        APIError: 400 where the client's header is no such number.
    """
    asked = headers.get(HEADER)
    if asked is None:
        return limit or None
    try:
        seconds = float(asked)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise invalid(
            f"{HEADER} is {asked!r}: write seconds, more than 0, as in 30 or 2.5",
            param=HEADER,
            code="invalid_value",
        )
    return min(seconds, limit or math.inf)


def exceeded(record: Record) -> APIError:
    """What a client is told whose time is up."""
    return APIError(
        504,
        f"the request took longer than the {record.timeout:g} s that it may: "
        f"ask for fewer tokens, or for more time ({HEADER}, or requestTimeoutSeconds of the server)",
        code="deadline_exceeded",
    )


async def within_deadline(
    app: ASGIApp, scope: Scope, receive: Receive, reply: Reply, record: Record
) -> None:
    """Pass a request on, and answer it here when its time is up before a response began."""
    try:
        async with asyncio.timeout(record.seconds_left) as limit:
            reply.on_start = lambda: limit.reschedule(None)
            try:
                await app(scope, receive, reply)
            finally:
                reply.on_start = None
    except TimeoutError:
        if not limit.expired():
            raise
        await response(exceeded(record))(scope, receive, reply)
