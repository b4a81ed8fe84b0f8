"""The client parses responses that arrive in arbitrary pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.server.client.http import Connection, ProtocolError, ResponseReader
from benchmarks.server.client.sse import EventReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\nX-Other: a: b\r\n\r\n"
body_bytes = st.binary(max_size=60) | st.sampled_from([b"0\r\n\r\n", b"\r\n", b"data: x\n\n"])


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Split data at these offsets (modulo its length)."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


cuts = st.lists(st.integers(0, 10_000), max_size=12)


def read(data: bytes, places: Sequence[int]) -> tuple[ResponseReader, bytes]:
    reader = ResponseReader()
    return reader, b"".join([reader.feed(piece) for piece in cut(data, places)])


def chunked(parts: Sequence[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    sized = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part)
    return CHUNKED + sized + b"0\r\n" + trailer + b"\r\n"


@given(
    st.lists(body_bytes, max_size=6),
    st.sampled_from([b"", b";a=b"]),
    st.sampled_from([b"", b"X-Sum: 1\r\n"]),
    cuts,
)
def test_chunks_are_joined(parts, extension, trailer, places) -> None:
    reader, body = read(chunked(parts, extension, trailer), places)
    assert body == b"".join(parts)
    assert (reader.status, reader.done, reader.keep_alive) == (200, True, True)


@given(body_bytes, cuts)
def test_a_body_of_a_given_length(content, places) -> None:
    head = b"HTTP/1.1 429 Too Many\r\ncontent-length: %d\r\nConnection: Close\r\n\r\n"
    reader, body = read(head % len(content) + content, places)
    assert body == content
    assert (reader.status, reader.done, reader.keep_alive) == (429, True, False)


@given(body_bytes, cuts)
def test_a_body_up_to_the_end_of_the_connection(content, places) -> None:
    reader, body = read(b"HTTP/1.0 200 OK\r\n\r\n" + content, places)
    assert body == content
    assert not reader.done
    reader.close()
    assert (reader.done, reader.keep_alive) == (True, False)


@given(cuts)
def test_an_interim_response_is_skipped(places) -> None:
    reader, body = read(b"HTTP/1.1 100 Continue\r\n\r\n" + chunked([b"x"]), places)
    assert (reader.status, reader.done, body) == (200, True, b"x")


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", CHUNKED + b"what\r\n"])
def test_other_protocols_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"not HTTP|no size"):
        ResponseReader().feed(data)


@given(st.lists(body_bytes, min_size=1, max_size=3), st.integers(1, 4))
def test_a_connection_that_ends_too_early(parts, missing) -> None:
    whole = chunked(parts)
    reader = ResponseReader()
    reader.feed(whole[:-missing])
    with pytest.raises(ProtocolError, match="before its answer was complete"):
        reader.close()


text = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
event = st.lists(text, min_size=1, max_size=3)


@given(st.lists(event, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans(), cuts)
def test_events_come_out_as_they_went_in(events, end, commented, places) -> None:
    lines = []
    for data in events:
        lines += [f": {end.strip() or 'ping'}", ""] if commented else []
        lines += ["event: message", *(f"data: {line}" for line in data), ""]
    reader = EventReader()
    stream = "".join(line + end for line in lines).encode()
    read = [data for piece in cut(stream, places) for data in reader.feed(piece)]
    assert read == ["\n".join(data).encode() for data in events]


def test_a_space_after_data_is_not_needed_and_only_one_is_taken() -> None:
    assert EventReader().feed(b"data:{}\n\ndata:  x\n\n") == [b"{}", b" x"]


Answer = Callable[[bytes], list[bytes]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], "asyncio.Future[tuple[str, int]]"]]:
    """Start a server that answers each request with bytes, and disconnects at an empty piece."""
    servers: list[asyncio.Server] = []

    async def start(answer: Answer) -> tuple[str, int]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    for piece in answer(head):
                        if not piece:
                            writer.close()
                            return
                        writer.write(piece)
                        await writer.drain()
            except asyncio.IncompleteReadError:
                writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        return servers[-1].sockets[0].getsockname()

    yield start
    for server in servers:
        server.close()


async def test_a_connection_serves_one_request_after_the_other(serve) -> None:
    connection = await Connection.open(*await serve(lambda head: [chunked([head[4:6]])]))
    for number in range(3):
        parts: list[bytes] = []
        assert await connection.request(b"GET /%d\r\n\r\n" % number, parts.append) == 200
        assert b"".join(parts) == b"/%d" % number
        assert connection.usable
    connection.close()
    assert not connection.usable


async def test_a_server_that_disconnects(serve) -> None:
    connection = await Connection.open(*await serve(lambda _: [CHUNKED + b"5\r\nhal", b""]))
    with pytest.raises((ProtocolError, OSError)):
        await connection.request(b"GET /\r\n\r\n", lambda _: None)
    assert not connection.usable


async def test_a_cancelled_request_closes_its_connection(serve) -> None:
    connection = await Connection.open(*await serve(lambda _: [CHUNKED]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await connection.request(b"GET /\r\n\r\n", lambda _: None)
    assert not connection.usable
    with pytest.raises(OSError, match="closed"):
        await connection.request(b"GET /\r\n\r\n", lambda _: None)
