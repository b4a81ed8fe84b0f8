"""Clients that send one request after the other while something changes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from hack.cluster.reach import service_address
from tests.support.kube import Kube, eventually

CLIENTS = 2


@contextmanager
def continuous_requests(kube: Kube, name: str) -> Iterator[Counter[str]]:
    """Send requests to a resource's Service; count them by outcome, a status code or an error."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()

    def ask(address: str) -> None:
        body = {"model": "tiny", "prompt": "Hello", "max_tokens": 4}
        while not stop.is_set():
            try:
                answer = httpx.post(f"http://{address}/v1/completions", json=body, timeout=60)
                outcomes[str(answer.status_code)] += 1
            except httpx.HTTPError as error:
                outcomes[repr(error)] += 1

    with (
        service_address(kube.target, name, kube.namespace) as address,
        ThreadPoolExecutor() as pool,
    ):
        eventually("the Service responds", lambda: answers(address))
        clients = [pool.submit(ask, address) for _ in range(CLIENTS)]
        try:
            yield outcomes
        finally:
            stop.set()
            for client in clients:
                client.result()


def answers(address: str) -> bool:
    """Return whether a model server responds at an address."""
    try:
        return httpx.get(f"http://{address}/v1/models", timeout=10).is_success
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return False
