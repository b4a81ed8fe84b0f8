"""A small HTTP/1.1 client with little overhead per piece of a stream.

A load generator must not be the bottleneck. General clients spend a good part of a millisecond on
each arriving piece; this one supports only what a benchmark needs: plain HTTP, one request at a
time per connection, bodies by length, in chunks or up to the end of the connection (RFC 9112).
"""

import asyncio
import re
from collections.abc import Callable

END_OF_HEAD = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class ProtocolError(Exception):
    """The server's response is not valid HTTP."""


class ResponseReader:
    """Incremental parser of one response.

    Attributes:
        status: status of the response, 0 before it is known.
        done: whether the response is complete.
        keep_alive: whether the connection can be reused.
    """

    def __init__(self) -> None:
        self.status = 0
        self.done = False
        self.keep_alive = True
        self._buffer = b""
        self._state: Callable[[list[bytes]], bool] = self._head
        self._left = 0  # remaining bytes of the body or chunk

    def feed(self, data: bytes) -> bytes:
        """Parse received bytes; return the part of the body that they contain.

        Raises:
            ProtocolError: the bytes are not HTTP.
        """
        self._buffer += data
        body: list[bytes] = []
        while not self.done and self._state(body):
            pass
        return b"".join(body)

    def close(self) -> None:
        """Handle the end of the connection.

        Raises:
            ProtocolError: the response is incomplete.
        """
        if self._state == self._until_close:
            self.done, self.keep_alive = True, False
        elif not self.done:
            raise ProtocolError("the server closed the connection before its answer was complete")

    def _head(self, body: list[bytes]) -> bool:
        head, found, rest = self._buffer.partition(END_OF_HEAD)
        if not found:
            return False
        match = _STATUS.match(head)
        if match is None:
            raise ProtocolError(f"the server's answer is not HTTP: {head[:80]!r}")
        self._buffer = rest
        if match[1] == b"100":
            return True
        self.status = int(match[1])
        headers = _headers(head)
        self.keep_alive = headers.get(b"connection", b"").lower() != b"close"
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            self._state = self._chunk_size
        elif b"content-length" in headers:
            self._left = int(headers[b"content-length"])
            self._state = self._length
        else:
            self._state = self._until_close
        return True

    def _length(self, body: list[bytes]) -> bool:
        self._take(body)
        self.done = self._left == 0
        return False

    def _until_close(self, body: list[bytes]) -> bool:
        body.append(self._buffer)
        self._buffer = b""
        return False

    def _chunk_size(self, body: list[bytes]) -> bool:
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        try:
            self._left = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise ProtocolError(f"the server's chunk has no size: {line[:80]!r}") from error
        self._buffer = rest
        self._state = self._chunk if self._left else self._trailer
        return True

    def _chunk(self, body: list[bytes]) -> bool:
        self._take(body)
        if self._left or len(self._buffer) < len(b"\r\n"):
            return False
        self._buffer = self._buffer[2:]
        self._state = self._chunk_size
        return True

    def _trailer(self, body: list[bytes]) -> bool:
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self.done = not line
        return True

    def _take(self, body: list[bytes]) -> None:
        part = self._buffer[: self._left]
        self._buffer = self._buffer[len(part) :]
        self._left -= len(part)
        body.append(part)


def _headers(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


class Connection(asyncio.Protocol):
    """A connection to a server; see `open`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._on_body: Callable[[bytes], None] = lambda _: None
        self._answered: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect.

        Raises:
            OSError: the server does not accept the connection.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    @property
    def usable(self) -> bool:
        """Whether the connection can be reused for another request."""
        return self._transport is not None and self._reader.keep_alive

    async def request(self, message: bytes, on_body: Callable[[bytes], None]) -> int:
        """Send a request and wait for the end of the response.

        Args:
            message: the request, head and body.
            on_body: called with the parts of the response body as they arrive.

        Returns:
            The status.

        Raises:
            OSError: the connection was lost.
            ProtocolError: the response is not HTTP, or is incomplete.
        """
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._reader, self._on_body = ResponseReader(), on_body
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        try:
            return await self._answered
        except asyncio.CancelledError:
            self.close()  # the rest of the response would be read as that of the next request
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of the new connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a TCP connection has
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse received data and pass on the response body."""
        try:
            body = self._reader.feed(data)
        except ProtocolError as error:
            self._settle(error)
            self.close()
            return
        if body:
            self._on_body(body)
        if self._reader.done:
            self._settle(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete the response, or fail it with the error of the connection."""
        self._transport = None
        try:
            self._reader.close()
        except ProtocolError as error:
            self._settle(exc or error)
        else:
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        if self._answered is None or self._answered.done():
            return
        if error is None:
            self._answered.set_result(self._reader.status)
        else:
            self._answered.set_exception(error)
