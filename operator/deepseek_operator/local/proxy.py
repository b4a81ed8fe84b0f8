"""A reverse proxy in front of the replicas that streams requests and responses."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from deepseek_operator.local import answers
from deepseek_operator.local.pool import Pool
from deepseek_operator.local.view import View

# Headers that apply to a single connection (RFC 9110, 7.6.1).
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
EVENTS = "text/event-stream"
# A local replica accepts a connection immediately or is gone; responses may take any time.
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
CLOSING_SECONDS = 2.0
# Below the server's keep-alive timeout (5 s), so that no request uses a connection that is closing.
KEEP_SECONDS = 2.0


@asynccontextmanager
async def answering(
    listening: socket.socket, pool: Pool, view: Callable[[], View]
) -> AsyncIterator[None]:
    """Serve the endpoint on a socket while the context is open.

    Args:
        listening: The endpoint's socket.
        pool: The ready replicas.
        view: Returns the current status, for error responses.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS),
        timeout=TIMEOUT,
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        # With handler_cancellation a client that disconnects aborts its request on the replica.
        runner = web.AppRunner(
            Proxy(session, pool, view).app(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=CLOSING_SECONDS,
        )
        await runner.setup()
        try:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await web.SockSite(runner, listening).start()
            yield
        finally:
            await runner.cleanup()


class Proxy:
    """Request handlers of the endpoint.

    Args:
        session: HTTP session for requests to replicas.
        pool: The ready replicas.
        view: Returns the current status, for error responses.
    """

    def __init__(
        self, session: aiohttp.ClientSession, pool: Pool, view: Callable[[], View]
    ) -> None:
        self._session, self._pool, self._view = session, pool, view

    def app(self) -> web.Application:
        """Return the application with its routes."""
        app = web.Application()
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        return app

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def _ready(self, _: web.Request) -> web.Response:
        view = self._view()
        ready = view.ready > 0 and not view.asked_to_end
        reports = [
            replica.model_dump(by_alias=True, include={"index", "phase", "detail"})
            for replica in view.replicas
        ]
        body = {"status": view.state.lower(), "readyReplicas": view.ready, "replicas": reports}
        return web.json_response(body, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        ports = [replica.port for replica in self._view().replicas if replica.port]
        urls = ", ".join(f"http://127.0.0.1:{port}/metrics" for port in ports) or "no replica runs"
        return _error(404, f"each replica serves its own metrics: {urls}", "unknown_route")

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        tried: set[int] = set()
        while not self._view().asked_to_end and (chosen := self._pool.choose(tried)):
            index, url = chosen
            with self._pool.running(index):
                try:
                    return await self._ask(request, index, url)
                except aiohttp.ClientConnectorError:  # nothing was sent, so a retry is safe
                    tried.add(index)
        refusal = answers.not_ready(self._view())
        return _error(503, refusal.message, refusal.code, refusal.retry_after)

    async def _ask(self, request: web.Request, index: int, url: str) -> web.StreamResponse:
        try:
            asked = await self._session.request(
                request.method,
                f"{url}{request.rel_url.raw_path_qs}",
                headers=_end_to_end(request.headers),
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientError:
            return _error(503, answers.gone(index), "replica_ended", 1)
        async with asked:
            answer = web.StreamResponse(status=asked.status, headers=_end_to_end(asked.headers))
            if asked.content_type == EVENTS:
                return await _events(request, asked, answer, index)
            return await _content(request, asked, answer)


async def _events(
    request: web.Request, asked: aiohttp.ClientResponse, answer: web.StreamResponse, index: int
) -> web.StreamResponse:
    """Forward an event stream; append an error event if the replica exits."""
    await answer.prepare(request)
    whole = answers.Whole()
    try:
        async for piece in asked.content.iter_any():
            if events := whole.push(piece):
                await answer.write(events)
        if rest := whole.rest():
            await answer.write(rest)
    except aiohttp.ClientError:
        await answer.write(answers.event(answers.gone(index), "replica_ended"))
    await answer.write_eof()
    return answer


async def _content(
    request: web.Request, asked: aiohttp.ClientResponse, answer: web.StreamResponse
) -> web.StreamResponse:
    """Forward a response; abort the connection if the replica exits, to mark the response as incomplete."""
    await answer.prepare(request)
    try:
        async for piece in asked.content.iter_any():
            await answer.write(piece)
    except aiohttp.ClientError:
        if request.transport is not None:
            request.transport.abort()
        return answer
    await answer.write_eof()
    return answer


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the end-to-end headers."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in HOP_BY_HOP | named:
            kept.add(name, value)
    return kept


def _error(status: int, message: str, code: str, retry_after: int | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(answers.body(status, message, code), status=status, headers=headers)
