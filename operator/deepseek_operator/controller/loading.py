"""Polling of loading model servers for their progress.

It runs beside the workers, which must not wait for servers.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.plan.state.loading import Loading

INTERVAL = 3.0
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=1.0, sock_read=2.0)
IN_FLIGHT = 16
ANSWER_LIMIT = 65536


async def follow(cache: Cache, queue: WorkQueue[Key], port: int | None = None) -> None:
    """Poll every loading server every few seconds, forever.

    No response is no error: a network policy or another engine may be the reason.

    Args:
        cache: Cache of the cluster.
        queue: Receives every resource whose server has made progress.
        port: Port of all servers; None for each server's own.
    """
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        while True:
            await asyncio.gather(
                *(
                    _ask(
                        session,
                        cache,
                        queue,
                        key,
                        f"http://{_host(address)}:{port or scrape_target.port}{scrape_target.ready}",
                        before,
                    )
                    for key, address, scrape_target, before in cache.pods.loading()
                )
            )
            await asyncio.sleep(INTERVAL)


async def _ask(
    session: aiohttp.ClientSession,
    cache: Cache,
    queue: WorkQueue[Key],
    key: Key,
    url: str,
    before: Loading | None,
) -> None:
    loading = Loading.of(await _answer(session, url), datetime.now(UTC), before)
    # If a server does not respond, its last report remains valid.
    if loading is not None:
        for owner in cache.pods.put_loading(key, loading):
            queue.add(owner)


async def _answer(session: aiohttp.ClientSession, url: str) -> Any:
    try:
        async with session.get(url, allow_redirects=False) as response:
            return json.loads(await response.content.read(ANSWER_LIMIT))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        return None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
