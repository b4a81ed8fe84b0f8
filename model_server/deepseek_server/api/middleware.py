"""Processing of every request before its route and after its last byte.

Each request gets an id, the owner of its API key if keys are configured, a deadline, and a limit for
the size of its body. Requests in flight are counted, because a drain waits for them. While the server
drains, connections are closed after their response, so that clients connect to another replica. When
a request ends, it is logged, counted in the metrics, and traced if a collector is configured.
"""

import contextlib
import logging
import re
import time
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepseek_server import logs
from deepseek_server.api import access, errors
from deepseek_server.api.deadline import seconds_for, within_deadline
from deepseek_server.api.errors import APIError
from deepseek_server.api.reply import Reply
from deepseek_server.metrics import Metrics
from deepseek_server.server import request_record as record
from deepseek_server.server.api_keys import Keyring
from deepseek_server.server.lifecycle import Lifecycle, Phase
from deepseek_server.server.request_record import Record
from deepseek_server.tracing import Tracer

log = logging.getLogger(__name__)

# Far above any prompt that fits a model's context, as text.
MAX_BODY_BYTES = 8 * 1024 * 1024
# Probes and scrapes need no key, go on during a drain and must not hold it up.
OPEN = frozenset({"/health/live", "/health/ready", "/metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID = "X-Request-Id"
# Ids that are safe to repeat in a header and a log line.
_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(frozen=True)
class Rules:
    """The rules for requests, and the tracer that reports them.

    Attributes:
        keyring: the API keys; None admits every client.
        timeout: time limit of a request in seconds; None or 0 is unlimited.
        tracer: writes a span for every request.
    """

    keyring: Keyring | None = None
    timeout: float | None = None
    tracer: Tracer | None = None


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, metrics: Metrics, rules: Rules) -> None:
        self._app, self._lifecycle, self._metrics = app, lifecycle, metrics
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        served = Record(_request_id(headers), scope["method"])
        record.begin(served)
        reply = Reply(send, served)
        reply.headers += [lambda: {REQUEST_ID: served.id}, self._farewell]
        handle = self._open if scope["path"] in OPEN else self._guarded
        try:
            await handle(scope, receive, reply, headers, served)
        except APIError as error:
            await errors.response(error)(scope, receive, reply)
        except Exception as error:
            if reply.started:  # the server closes the connection, which marks it as incomplete
                raise
            log.exception("request %s failed", served.id)
            await errors.fault(error)(scope, receive, reply)
        finally:
            self._ended(scope, headers, served)

    async def _open(
        self, scope: Scope, receive: Receive, reply: Reply, _: Headers, __: Record
    ) -> None:
        await self._app(scope, receive, reply)

    async def _guarded(
        self, scope: Scope, receive: Receive, reply: Reply, headers: Headers, served: Record
    ) -> None:
        with contextlib.ExitStack() as leaving:
            self._lifecycle.request_began()
            leaving.callback(self._lifecycle.request_ended)
            if self._rules.keyring is not None:
                served.key, account = access.identify(headers, self._rules.keyring)
                reply.headers.append(account.headers)
                access.enter(served.key, account)
                leaving.callback(account.leave)
                served.charge = account.charge
            served.limit(seconds_for(headers, self._rules.timeout))
            await within_deadline(self._app, scope, _limited(scope, receive), reply, served)

    def _farewell(self) -> dict[str, str]:
        return {"Connection": "close"} if self._lifecycle.phase is Phase.DRAINING else {}

    def _ended(self, scope: Scope, headers: Headers, served: Record) -> None:
        """Report a request that has ended to metrics, log and tracer."""
        # Arbitrary paths and methods of clients must not become label values.
        served.route = getattr(scope.get("route"), "path", "none")
        method = served.method if served.method in METHODS else "other"
        self._metrics.answered(served.route, method, served.status)
        if scope["path"] in OPEN:
            return
        seconds = time.monotonic() - served.began
        logs.ended(served, seconds)
        if self._rules.tracer is not None:
            self._rules.tracer.ended(served, headers, seconds)


def _request_id(headers: Headers) -> str:
    """Return the client's request id if it is safe to repeat, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Limit a body; when a route reads beyond the limit, it fails with a 413."""
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    received = int(announced) if announced.isdigit() else 0
    too_large = received > MAX_BODY_BYTES
    received = 0

    async def receive_on() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if too_large or received > MAX_BODY_BYTES:
            raise APIError(
                413,
                f"the body exceeds {MAX_BODY_BYTES} bytes: send a shorter prompt",
                code="body_too_large",
            )
        return message

    return receive_on
