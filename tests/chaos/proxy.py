"""A reverse proxy between the operator and the API server that injects faults."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

# Headers of a single connection, which are not forwarded.
HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length"})
CHUNK = 2**16


class Proxy:
    """Serves plain HTTP on loopback; uses TLS and the administrator's certificate to the cluster.

    Attributes:
        refusal: (status, share): this share of all requests is answered with this status.
        silent: Whether watch streams stop in the middle but stay open.
        refused: Number of requests refused so far.
        silenced: Number of watch streams silenced so far.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        cluster = yaml.safe_load(kubeconfig.read_text())
        self._server = cluster["clusters"][0]["cluster"]["server"]
        self._tls = _tls(cluster, folder)
        self.refusal: tuple[int, float] | None = None
        self.silent = False
        self.refused = 0
        self.silenced = 0
        self._port: Future[int] = Future()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self.kubeconfig = folder / "proxy.kubeconfig"
        self.kubeconfig.write_text(_kubeconfig(f"http://127.0.0.1:{self._port.result(10)}"))

    def close(self) -> None:
        """Stop the proxy and close every connection through it."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        limits = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector, timeout=limits, auto_decompress=False
        ) as self._session:
            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", self._pass_on)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._port.set_result(runner.addresses[0][1])
            await self._stopped.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if self.refusal and random.random() < self.refusal[1]:
            self.refused += 1
            status = {"message": "the test refuses", "code": self.refusal[0]}
            return web.json_response(status, status=self.refusal[0])
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method,
            self._server + request.raw_path,
            data=await request.read() or None,
            headers=headers,
        ) as upstream:
            response = web.StreamResponse(status=upstream.status)
            for name, value in upstream.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers[name] = value
            await response.prepare(request)
            watching = "watch" in request.query
            async for chunk in upstream.content.iter_any():
                if watching and self.silent:
                    self.silenced += 1
                    await asyncio.sleep(3600)
                await response.write(chunk)
            await response.write_eof()
            return response


def _tls(cluster: dict[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_file(cluster["clusters"][0]["cluster"], folder))
    user = cluster["users"][0]["user"]
    context.load_cert_chain(
        _file(user, folder, "client-certificate"), _file(user, folder, "client-key")
    )
    return context


def _file(entry: dict[str, Any], folder: Path, name: str = "certificate-authority") -> str:
    if name in entry:
        return str(entry[name])
    path = folder / name
    path.write_bytes(base64.b64decode(entry[f"{name}-data"]))
    return str(path)


def _kubeconfig(server: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "anonymous"}}],
            "clusters": [{"name": "proxy", "cluster": {"server": server}}],
            "users": [{"name": "anonymous", "user": {}}],
        }
    )
