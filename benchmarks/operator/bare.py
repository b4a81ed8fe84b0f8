"""A client that only writes the same objects as the operator, byte for byte."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import RESOURCE, kind_of
from deepseek_operator.controller.events import event_manifest
from deepseek_operator.controller.workers import WORKERS
from deepseek_operator.plan.desired.desired_state import DesiredState, Resource
from deepseek_operator.plan.plan import decide, report
from deepseek_operator.plan.rolling.rolling_update import SURGE
from deepseek_operator.plan.state.observed import Observed
from deepseek_operator.plan.state.settings import Settings
from deepseek_operator.render.reuse import Renderer
from deepseek_operator.render.workload import is_workload, rolled
from tests.support.kube import resource

Object = dict[str, Any]
T = TypeVar("T")

NOW = "2026-01-01T00:00:00Z"
# Arguments of the measured process.
SETTINGS = Settings(server_image="server:test")


def custom_resource(namespace: str, name: str) -> Object:
    """Return a resource whose pods can run on fake nodes."""
    fake = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}
    body = resource(name, podTemplate={"spec": {"tolerations": [fake]}})
    body["metadata"]["namespace"] = namespace
    return body


async def at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Process items concurrently, as many at a time as the operator has workers."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(WORKERS)))


def _decided() -> DesiredState:
    """Return the operator's desired state for such a resource."""
    body = custom_resource("bare", "bare")
    body["metadata"] |= {"uid": "-", "generation": 1}
    decision = decide(body, SETTINGS, Observed())
    assert isinstance(decision, DesiredState)
    return decision


# Kinds of the children of each resource.
MADE = tuple(kind_of(child) for child in Renderer().children(_decided()))


class Bare:
    """Writes the operator's objects, resource by resource, without computing them again."""

    def __init__(self, client: Client, namespace: str, names: list[str]) -> None:
        self._client = client
        self._namespace = namespace
        self._names = names
        self._desired = _decided()
        self._renderer = Renderer()
        self._renderer.children(self._desired)

    async def write_all(self) -> None:
        """Create the resources, their children, status and Event."""
        await at_once(self._write, self._names)

    async def _write(self, name: str) -> None:
        created = await self._client.create(RESOURCE, custom_resource(self._namespace, name))
        owner = Resource(self._namespace, name, created["metadata"]["uid"])
        desired = replace(self._desired, resource=owner)
        for child in self._renderer.children(desired):
            if is_workload(child):
                child = rolled(child, SURGE)
            await self._client.apply(kind_of(child), child)
        reported = report(created, desired, Observed(), NOW)
        status = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": self._namespace, "uid": owner.uid},
            "status": reported.status,
        }
        result = await self._client.apply(RESOURCE, status, "status")
        for event in reported.events:
            await self._client.post_event(event_manifest(result, event, NOW))


def names(prefix: str, count: int) -> list[str]:
    """Return names that sort in numeric order."""
    return [f"{prefix}-{number:05}" for number in itertools.islice(itertools.count(), count)]
