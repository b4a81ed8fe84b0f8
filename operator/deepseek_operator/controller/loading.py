"""Asks the model servers that load how far they are, beside the workers, which wait for nobody."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.plan.loading import Loading
from deepseek_operator.plan.target import PORT

INTERVAL = 3.0
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=1.0, sock_read=2.0)
IN_FLIGHT = 16
ANSWER_LIMIT = 65536


async def follow(cache: Cache, queue: WorkQueue[Key], port: int = PORT) -> None:
    """Every few seconds ask every server that loads, for ever.

    What a server does not answer is no error: a network policy or another engine may be the reason.
    """
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        while True:
            await asyncio.gather(
                *(
                    _ask(session, cache, queue, key, f"http://{_host(address)}:{port}", before)
                    for key, address, before in cache.pods.loading()
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
    # Of a server that is silent for a moment the last word still holds.
    if loading is not None:
        for owner in cache.pods.put_loading(key, loading):
            queue.add(owner)


async def _answer(session: aiohttp.ClientSession, url: str) -> Any:
    try:
        async with session.get(f"{url}/health/ready", allow_redirects=False) as response:
            return json.loads(await response.content.read(ANSWER_LIMIT))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        return None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
