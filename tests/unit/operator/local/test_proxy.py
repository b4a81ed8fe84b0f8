"""The reverse proxy in front of the replicas, over real connections."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deepseek_operator.local.pool import Pool
from deepseek_operator.local.proxy import answering
from deepseek_operator.local.view import ReplicaView, View
from tests.unit.operator.local.views import view

READY = ReplicaView(index=0, phase="ready", port=4242)


class Site:
    """A proxy with a pool that a test fills with replicas."""

    def __init__(self, url: str, pool: Pool, session: aiohttp.ClientSession) -> None:
        self.url, self.pool, self.session = url, pool, session
        self.view: View = view(READY)

    async def ask(self, path: str = "/v1/models", **options: Any) -> tuple[int, Any, Any]:
        async with self.session.get(f"{self.url}{path}", **options) as answer:
            return answer.status, answer.headers, await answer.json(content_type=None)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    pool = Pool()
    async with aiohttp.ClientSession() as session:
        listening = socket.create_server(("127.0.0.1", 0))
        found = Site(f"http://127.0.0.1:{listening.getsockname()[1]}", pool, session)
        async with answering(listening, pool, lambda: found.view):
            yield found


@asynccontextmanager
async def replica(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    await runner.cleanup()


def free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return f"http://127.0.0.1:{opened.getsockname()[1]}"


async def test_requests_and_responses_are_forwarded_unchanged(site: Site) -> None:
    async def handler(request: web.Request) -> web.Response:
        seen = {
            "method": request.method,
            "path": request.raw_path,
            "body": (await request.read()).decode(),
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }
        return web.json_response(
            seen, status=418, headers={"X-Request-Id": "r", "Retry-After": "3"}
        )

    async with replica(handler) as url:
        site.pool.put(0, url)
        headers = {"Authorization": "Bearer k", "X-Mine": "1", "Connection": "X-Hop", "X-Hop": "no"}
        body = "ü" * 300_000
        async with site.session.post(
            f"{site.url}/v1/a%2Fb?x=%20y", data=body, headers=headers
        ) as answer:
            seen = await answer.json()
            assert (answer.status, answer.headers["X-Request-Id"]) == (418, "r")
            assert answer.headers["Retry-After"] == "3"
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/v1/a%2Fb?x=%20y", body)
    assert seen["headers"]["authorization"] == "Bearer k"
    assert seen["headers"]["x-mine"] == "1"
    assert "x-hop" not in seen["headers"]


async def test_a_stream_is_unbuffered_and_its_client_may_disconnect(site: Site) -> None:
    more, left = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: 1\n\n")
        try:
            await more.wait()
            await answer.write(b"data: 2\n\n: ping\n\n")
            await asyncio.Event().wait()
        finally:
            left.set()
        return answer

    async with replica(handler) as url:
        site.pool.put(0, url)
        async with site.session.get(site.url) as answer:
            assert await answer.content.readline() == b"data: 1\n"
            assert site.pool.requests == 1
            more.set()
            await answer.content.readline()
            assert await answer.content.readline() == b"data: 2\n"
            answer.close()
        await asyncio.wait_for(left.wait(), 5)
    async with asyncio.timeout(5):
        while site.pool.requests:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def dying(body: bytes, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler of a replica that dies after sending the given bytes."""

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={n.replace("_", "-"): v for n, v in headers.items()})
        await answer.prepare(request)
        await answer.write(body)
        assert request.transport is not None
        await asyncio.sleep(0.05)
        request.transport.abort()
        return answer

    return handler


async def test_a_stream_whose_replica_dies_ends_with_an_error_event(site: Site) -> None:
    stream = b'data: {"a": 1}\n\ndata: {"b"'
    async with replica(dying(stream, Content_Type="text/event-stream; charset=utf-8")) as url:
        site.pool.put(0, url)
        async with site.session.get(site.url) as answer:
            events = (await answer.read()).decode().split("\n\n")
    assert [json.loads(event.removeprefix("data: ")) for event in events if event] == [
        {"a": 1},
        {
            "error": {
                "message": "replica 0 exited while serving this request: retry the request",
                "type": "service_unavailable_error",
                "param": None,
                "code": "replica_ended",
            }
        },
    ]


async def test_a_response_whose_replica_dies_is_aborted(site: Site) -> None:
    async with replica(dying(b"half", Content_Length="100")) as url:
        site.pool.put(0, url)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with asyncio.timeout(10):
                await site.ask()


async def test_a_replica_that_dies_before_it_responds(site: Site) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with replica(handler) as url:
        site.pool.put(0, url)
        status, headers, body = await site.ask()
    assert (status, headers["Retry-After"], body["error"]["code"]) == (503, "1", "replica_ended")


async def test_an_unreachable_replica_loses_no_requests(site: Site) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"got": (await request.read()).decode()})

    async with replica(handler) as url:
        site.pool.put(0, free())
        site.pool.put(1, url)
        for _ in range(4):
            async with site.session.post(site.url, data=b"x" * 100_000) as answer:
                assert (await answer.json())["got"] == "x" * 100_000


async def test_no_ready_replica_returns_503(site: Site) -> None:
    site.view = view(ReplicaView(index=0, phase="loading", detail="loading x", seconds_left=9))
    status, headers, body = await site.ask()
    assert (status, headers["Retry-After"]) == (503, "9")
    assert body["error"]["type"] == "service_unavailable_error"
    assert "loading x" in body["error"]["message"]


async def test_health_and_metrics_routes(site: Site) -> None:
    assert (await site.ask("/health/live"))[0] == 200
    assert (await site.ask("/health/ready"))[0] == 200
    site.view = view(ReplicaView(index=0, phase="loading", detail="loading x"))
    status, _, body = await site.ask("/health/ready")
    assert (status, body["status"], body["readyReplicas"]) == (503, "starting", 0)
    site.view = view(READY)
    status, _, body = await site.ask("/metrics")
    assert status == 404
    assert "http://127.0.0.1:4242/metrics" in body["error"]["message"]
