"""Deadlines of requests.

The server's configuration limits all requests; a client may set a shorter limit with the header
X-Request-Timeout. When the deadline passes, the request is cancelled, which frees its slot in the
engine. The client gets a 504, or, if a stream has started, an error event at its end (sse.py).
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
    """Return the time limit of a request in seconds.

    Args:
        headers: of the request.
        limit: the limit of the server's configuration; None or 0 is unlimited.

    Raises:
        APIError: 400 if the client's header is not a positive number.
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
            f"{HEADER} must be a number of seconds above 0, such as 30 or 2.5: got {asked!r}",
            param=HEADER,
            code="invalid_value",
        )
    return min(seconds, limit or math.inf)


def exceeded(record: Record) -> APIError:
    """Return the error for a request whose deadline has passed."""
    return APIError(
        504,
        f"the request exceeded its time limit of {record.timeout:g} s: request fewer tokens, or "
        f"raise the limit ({HEADER} of the request, requestTimeoutSeconds of the server)",
        code="deadline_exceeded",
    )


async def within_deadline(
    app: ASGIApp, scope: Scope, receive: Receive, reply: Reply, record: Record
) -> None:
    """Pass a request on; respond with 504 if its deadline passes before a response has started."""
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
