"""Optional kinds that appear and disappear while the operator runs, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.errors import UnreachableError
from deepseek_operator.cluster.kinds import (
    GATEWAY,
    ISTIO_GATEWAY,
    LOCAL_QUEUE,
    OPTIONAL,
    POD_MONITOR,
    RESOURCE,
    SCALED_OBJECT,
    Kind,
)
from deepseek_operator.cluster.watch import Watch
from deepseek_operator.controller.optional import LOOK, OptionalKinds
from deepseek_operator.controller.queue import WorkQueue
from tests.support.operator.resources import resource

pytestmark = [pytest.mark.looptime]

OWNER = Key("apps", "r1")


def monitor(version: int) -> dict[str, Any]:
    metadata = {
        "name": "r1",
        "namespace": "apps",
        "uid": "m-1",
        "resourceVersion": str(version),
        "labels": {"deepseek-operator.io/name": "r1"},
    }
    return {"metadata": metadata}


class FakeClient(Client):
    """An API server that serves the kinds in `there`."""

    def __init__(self) -> None:
        self.there: set[Kind] = set()
        self.down: set[Kind] = set()
        self.asked: list[Kind] = []
        self.streams: dict[Kind, asyncio.Queue[Any]] = {}
        self.objects: list[dict[str, Any]] = []

    async def serves(self, kind: Kind) -> bool:
        self.asked.append(kind)
        if kind in self.down:
            raise UnreachableError("it is down")
        return kind in self.there

    async def pages(
        self, kind: Kind, metadata_only: bool = False
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield list(self.objects), 5

    async def watch(
        self, kind: Kind, version: int, seconds: int, silence: float
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.streams[kind] = asyncio.Queue()
        try:
            while True:
                event = await self.streams[kind].get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            del self.streams[kind]


class Bench:
    def __init__(self) -> None:
        self.client, self.cache = FakeClient(), Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.kinds = OptionalKinds(self.client, self.cache, self.queue, self._watch)
        self.cache.put(RESOURCE, resource())

    def _watch(self, kind: Kind) -> Watch:
        def concerned(keys: Iterable[Key]) -> None:
            for key in keys:
                self.queue.add(key)

        return Watch(self.client, kind, self.cache, concerned, lambda *_: None)

    async def worked_on(self) -> Key:
        key = await asyncio.wait_for(self.queue.get(), LOOK + 1)
        self.queue.done(key)
        return key


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """Run OptionalKinds; no fixture, because virtual time exists only inside a test."""
    made = Bench()
    await made.kinds.look()
    task = asyncio.create_task(made.kinds.follow())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert not made.client.streams, "no stream is left open"


async def test_polling_without_changes_queues_nothing() -> None:
    async with running() as bench:
        await asyncio.sleep(10 * LOOK + 1)
        assert len(bench.client.asked) == 11 * len(OPTIONAL)
        assert bench.queue.depth() == 0
        assert not bench.client.streams


async def test_a_new_kind_is_watched_and_queues_every_resource() -> None:
    async with running() as bench:
        bench.client.there = {POD_MONITOR}
        assert await bench.worked_on() == OWNER
        assert bench.cache.observe(OWNER).served == {"PodMonitor"}
        await asyncio.sleep(1)
        assert set(bench.client.streams) == {POD_MONITOR}


async def test_a_change_of_an_optional_child_queues_its_resource_at_once() -> None:
    async with running() as bench:
        bench.client.there = {POD_MONITOR}
        await bench.worked_on()
        await asyncio.sleep(1)
        started = asyncio.get_running_loop().time()
        stream = bench.client.streams[POD_MONITOR]
        stream.put_nowait(("ADDED", monitor(6)))
        assert await bench.worked_on() == OWNER
        stream.put_nowait(("BOOKMARK", {"metadata": {"resourceVersion": "7"}}))
        stream.put_nowait(("DELETED", monitor(8)))
        assert await bench.worked_on() == OWNER
        assert bench.cache.get(POD_MONITOR, OWNER) is None
        assert asyncio.get_running_loop().time() - started < 1


async def test_an_optional_kind_that_is_no_child_is_not_watched() -> None:
    async with running() as bench:
        bench.client.there = {LOCAL_QUEUE}
        await bench.worked_on()
        await asyncio.sleep(1)
        assert bench.cache.served == {"LocalQueue"}
        assert not bench.client.streams


async def test_two_kinds_of_one_name_are_distinguished_by_group() -> None:
    async with running() as bench:
        bench.client.there = {GATEWAY}
        await bench.worked_on()
        await asyncio.sleep(1)
        assert bench.cache.served == {"Gateway"}
        assert set(bench.client.streams) == {GATEWAY}
        bench.client.there = {GATEWAY, ISTIO_GATEWAY}
        await bench.worked_on()
        await asyncio.sleep(1)
        assert bench.cache.served == {"Gateway", "IstioGateway"}
        assert set(bench.client.streams) == {GATEWAY, ISTIO_GATEWAY}


async def test_a_kind_that_disappears_loses_its_objects_and_its_stream() -> None:
    async with running() as bench:
        bench.client.there, bench.client.objects = {POD_MONITOR}, [monitor(4)]
        await bench.worked_on()
        assert await bench.worked_on() == OWNER, "its child is listed"
        assert bench.cache.get(POD_MONITOR, OWNER) is not None
        bench.client.there, bench.client.objects = set(), []
        await bench.worked_on()
        await asyncio.sleep(1)
        assert bench.cache.served == frozenset()
        assert bench.cache.get(POD_MONITOR, OWNER) is None
        assert not bench.client.streams


async def test_a_broken_stream_is_reopened() -> None:
    async with running() as bench:
        bench.client.there = {POD_MONITOR}
        await bench.worked_on()
        await asyncio.sleep(1)
        bench.client.streams[POD_MONITOR].put_nowait(UnreachableError("gone"))
        await asyncio.sleep(5)
        bench.client.streams[POD_MONITOR].put_nowait(("ADDED", monitor(6)))
        assert await bench.worked_on() == OWNER
        assert bench.cache.get(POD_MONITOR, OWNER) is not None
        assert [watch.kind for watch in bench.kinds.watches] == [POD_MONITOR], "health has it too"


async def test_served_kinds_stay_known_while_the_api_server_is_down() -> None:
    async with running() as bench:
        bench.client.there = {POD_MONITOR}
        await bench.worked_on()
        bench.client.down = set(OPTIONAL)
        await asyncio.sleep(5 * LOOK)
        assert bench.cache.served == {"PodMonitor"}
        bench.client.down, bench.client.there = set(), set()
        assert await bench.worked_on() == OWNER
        assert bench.cache.served == frozenset()


async def test_an_api_that_is_down_does_not_hide_others(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.client.down, bench.client.there = {SCALED_OBJECT}, {POD_MONITOR}
        with caplog.at_level("INFO"):
            assert await bench.worked_on() == OWNER
            await asyncio.sleep(5 * LOOK)
        assert bench.cache.served == {"PodMonitor"}
        logged = [line for line in caplog.messages if "Failed to discover" in line]
        assert len(logged) == 1, "once, not every ten seconds"
