"""What happens to every request before a route sees it.

Bodies have a limit, requests are counted (a drain waits for them), and while the server drains,
connections are closed after their answer so that clients connect to another replica.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepseek_server.api.errors import APIError
from deepseek_server.lifecycle import Lifecycle, Phase
from deepseek_server.metrics import Metrics

# Far above any prompt that fits a model's context, as text.
MAX_BODY_BYTES = 8 * 1024 * 1024


class Gate:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._app, self._lifecycle, self._metrics = app, lifecycle, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Probes and scrapes go on during a drain and must not hold it up.
        counted = scope["path"].startswith("/v1/")
        if counted:
            self._lifecycle.request_began()
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._lifecycle.phase is Phase.DRAINING:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, _limited(scope, receive), send_on)
        finally:
            if counted:
                self._lifecycle.request_ended()
            # Paths that are no routes would make a label of whatever anybody asks for.
            route = scope.get("route")
            handler = getattr(route, "path", "none")
            self._metrics.answered(handler, scope["method"], status)


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Receive a body up to the limit; beyond it the route's read of the body fails with a 413."""
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
                f"the body is larger than {MAX_BODY_BYTES} bytes: send a shorter prompt",
                code="body_too_large",
            )
        return message

    return receive_on
