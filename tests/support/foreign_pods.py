"""Frequently changing pods of other workloads, whose changes must cost the operator next to nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import POD

A_LOT = 10_000 / 60  # changes per second, of a large cluster
PODS = 20
IN_FLIGHT = 16


class ForeignPods:
    """Pods in a namespace; each change writes another annotation.

    Attributes:
        written: Number of changes so far.
    """

    def __init__(self, namespace: str) -> None:
        self.written = 0
        self._namespace = namespace

    async def change(self, client: Client, rate: float, go_on: Callable[[], bool]) -> None:
        """Change the pods in turn.

        Args:
            client: Client for the writes.
            rate: Maximum changes per second.
            go_on: Called before each change; the changes end when it returns False.

        Raises:
            ExceptionGroup: A write failed.
        """
        free = asyncio.Semaphore(IN_FLIGHT)

        async def write(number: int) -> None:
            try:
                await client.apply(POD, self._pod(number))
            finally:
                free.release()
            self.written += 1

        async with asyncio.TaskGroup() as writes:
            for number in itertools.count():
                await free.acquire()
                if not go_on():
                    break
                writes.create_task(write(number))
                await asyncio.sleep(1 / rate)

    def _pod(self, number: int) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"foreign-{number % PODS}",
                "namespace": self._namespace,
                "annotations": {"turn": str(number)},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [{"name": "a", "image": "a"}],
            },
        }
