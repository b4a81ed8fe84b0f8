"""Whatever bytes arrive, nothing that a client sends is a fault of the server.

Over real sockets: the parser of HTTP is a part of what is tested.
"""

import logging
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deepseek_server.server.lifecycle import Lifecycle
from deepseek_server.server.served_model import ServedModel
from tests.support.model_server.scripted import Letters, ScriptedEngine, configuration

BODY = b'{"model": "scripted", "prompt": [5, 6], "max_tokens": 3, "stream": true}'
VALID = (
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    b"X-Request-Id: abc\r\nX-Request-Timeout: 5\r\nAuthorization: Bearer sk-a\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'a\r\n{"model": \r\n5;x=y\r\n"a"  \r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n'
)
LIMITS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Server:
    """The application behind a real port."""

    def __init__(self, running) -> None:
        self._running = running
        address = urlsplit(running.url)
        self._address = (address.hostname, address.port)

    def exchange(self, request: bytes, *, half_close: bool) -> bytes:
        """Return the response up to the server's close, which follows our half-close."""
        received = b""
        with socket.create_connection(self._address, timeout=20) as connection:
            try:
                connection.sendall(request)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                raise
            except OSError:
                pass  # it may close while we still send
        return received

    def faults(self) -> list[str]:
        """Return the number of responses of 500 and above so far."""
        metrics = self._running.metrics.registry.collect()
        answers = (family for family in metrics if family.name.endswith("http_requests"))
        samples = (sample for family in answers for sample in family.samples)
        return [str(s.labels) for s in samples if int(s.labels["status"]) >= 500]


@pytest.fixture(scope="module")
def server(run_app) -> Server:
    lifecycle = Lifecycle(configuration().model)
    lifecycle.ready(ServedModel("scripted", ScriptedEngine(), Letters(), vocabulary=128))
    return Server(run_app(lifecycle))


@pytest.fixture(autouse=True)
def no_faults(server: Server, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Also counts responses that did not reach the client."""
    caplog.set_level(logging.ERROR)
    yield
    assert server.faults() == []
    assert [record.getMessage() for record in caplog.records] == []
    assert statuses(server.exchange(VALID, half_close=False)) == [200]


def statuses(answer: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^HTTP/1\.1 (\d+)", answer, re.MULTILINE)]


Change = tuple[str, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "cut", "end"]),
        st.integers(0, len(VALID)),
        st.binary(max_size=8)
        | st.sampled_from(
            [b"\r\n", b"\r\n\r\n", b"\0", b"\xff", b"Content-Length: 9\r\n", b"0\r\n"]
        ),
    ),
    min_size=1,
    max_size=4,
)


def changed(request: bytes, changes: list[Change]) -> bytes:
    for kind, place, content in changes:
        before, after = request[:place], request[place:]
        match kind:
            case "insert":
                request = before + content + after
            case "replace":
                request = before + content + after[len(content) :]
            case "cut":
                request = before + after[1 + len(content) :]
            case "end":
                request = before
    return request


@LIMITS
@given(st.sampled_from([VALID, CHUNKED]), CHANGES)
@example(VALID, [("end", VALID.index(BODY) + 5, b"")])
@example(CHUNKED, [("end", CHUNKED.index(b"5;x"), b"")])
@example(CHUNKED, [("replace", CHUNKED.index(b"5;x"), b"g")])
def test_requests_that_are_damaged_on_their_way(
    server: Server, request_: bytes, changes: list[Change]
) -> None:
    answer = server.exchange(changed(request_, changes), half_close=True)
    assert all(status < 500 for status in statuses(answer))


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
PATHS = st.sampled_from(
    ["/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/models/a", "/health/ready"]
) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30).map("/{}".format)
NAMES = st.sampled_from(
    [
        *("X-Request-Id", "X-Request-Timeout", "Authorization", "Content-Type", "Accept"),
        *("traceparent", "Expect", "Upgrade", "Content-Encoding", "Cookie", "X-Forwarded-For"),
    ]
) | st.from_regex(r"[A-Za-z0-9-]{1,12}", fullmatch=True).filter(
    lambda name: name.lower() not in ("content-length", "transfer-encoding", "connection")
)
# Valid header values: visible characters, inner spaces, and non-ASCII bytes.
VALUES = st.binary(max_size=30).map(
    lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127)
) | st.sampled_from([b"100-continue", b"websocket", b"1e999", b"9" * 5000, b"gzip", b"\xc3\x28"])
BODIES = st.binary(max_size=60) | st.just(BODY) | st.just(b"[" * 5000) | st.just(b'"\\ud800"')


@LIMITS
@given(METHODS, PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=6), BODIES, st.booleans())
def test_requests_that_are_strange(
    server: Server,
    method: str,
    path: str,
    headers: list[tuple[str, bytes]],
    body: bytes,
    chunked: bool,
) -> None:
    head = [f"{method} {path} HTTP/1.1".encode(), b"Host: a", b"Connection: close"]
    head += [name.encode() + b": " + value for name, value in headers]
    if chunked:
        head.append(b"Transfer-Encoding: chunked")
        parts = [body[start : start + 7] for start in range(0, len(body), 7)]
        content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        head.append(b"Content-Length: %d" % len(body))
        content = body
    answer = server.exchange(b"\r\n".join(head) + b"\r\n\r\n" + content, half_close=False)
    final = [status for status in statuses(answer) if status >= 200]
    assert len(final) == 1, answer
    assert 200 <= final[0] < 500


@LIMITS
@given(st.binary(max_size=200))
def test_bytes_that_are_not_http(server: Server, content: bytes) -> None:
    assert all(status == 400 for status in statuses(server.exchange(content, half_close=True)))


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"POST /v1/completions HTTP/1.1", b"Host: a", *lines]) + b"\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        head(b"X: " + b"a" * 2**20),
        head(*(b"X-%d: a" % number for number in range(20_000))),
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        head(b"Content-Length: -1"),
        head(b"Content-Length: " + b"9" * 5000),
        head(b"Content-Length: 5", b"Content-Length: 6"),
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: gzip"),
        head(b"Transfer-Encoding: chunked") + b"f" * 100,
        b"POST /v1/completions HTTP/9.9\r\nHost: a\r\n\r\n",
        b"POST /v1/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /%ff%00%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_invalid_or_huge_heads(server: Server, request_: bytes) -> None:
    assert all(400 <= s < 500 for s in statuses(server.exchange(request_, half_close=True)))


def test_unknown_methods_create_no_labels(server: Server) -> None:
    answer = server.exchange(
        b"BREW /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", half_close=False
    )
    assert statuses(answer) == [405]
    scrape = server.exchange(
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", half_close=False
    )
    assert b'method="other"' in scrape
    assert b"BREW" not in scrape
