"""The way of a response to the client: what is noted of it, and what headers are added to it."""

from collections.abc import Callable, Mapping

from starlette.types import Message, Send

from deepseek_server.server.request_record import Record


class Reply:
    """The `send` of an ASGI application.

    Args:
        send: the server's.
        record: the request, whose status is noted.

    Attributes:
        started: whether the status is sent.
        headers: makes headers of the moment, for whoever wants to add some.
        on_start: called before the status is sent, if set.
    """

    def __init__(self, send: Send, record: Record) -> None:
        self._send, self._record = send, record
        self.started = False
        self.headers: list[Callable[[], Mapping[str, str]]] = []
        self.on_start: Callable[[], None] | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message on."""
        if message["type"] == "http.response.start":
            if self.on_start is not None:
                self.on_start()
            self.started = True
            self._record.status = message["status"]
            added = [pair for make in self.headers for pair in make().items()]
            more = [(name.encode(), value.encode()) for name, value in added]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)
