"""Wrapper around ASGI `send`: records the status of a response and adds headers."""

from collections.abc import Callable, Mapping

from starlette.types import Message, Send

from deepseek_server.server.request_record import Record


class Reply:
    """The `send` of an ASGI application.

    Args:
        send: the server's.
        record: the request's record, which gets the status.

    Attributes:
        started: whether the status has been sent.
        headers: callables that return headers to add, called when the response starts.
        on_start: called before the status is sent, if set.
    """

    def __init__(self, send: Send, record: Record) -> None:
        self._send, self._record = send, record
        self.started = False
        self.headers: list[Callable[[], Mapping[str, str]]] = []
        self.on_start: Callable[[], None] | None = None

    async def __call__(self, message: Message) -> None:
        """Forward a message."""
        if message["type"] == "http.response.start":
            if self.on_start is not None:
                self.on_start()
            self.started = True
            self._record.status = message["status"]
            added = [pair for make in self.headers for pair in make().items()]
            more = [(name.encode(), value.encode()) for name, value in added]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)
