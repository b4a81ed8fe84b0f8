"""The leader lease in virtual time, against a store with versions like the API server's."""

import asyncio
import copy
from typing import Any

import pytest

from deepseek_operator.cluster.errors import ConflictError, UnreachableError
from deepseek_operator.controller.lease import DURATION, WRITE_WINDOW, Lease, LeaseLostError

pytestmark = [pytest.mark.looptime]

Object = dict[str, Any]


class Store:
    """One Lease object; every process has a connection of its own, which can be cut."""

    def __init__(self) -> None:
        self.object: Object | None = None
        self.version = 0
        self.cut: set[str] = set()
        # Processes whose writes arrive, but whose responses are lost.
        self.deaf: set[str] = set()

    def way(self, name: str) -> Any:
        return Way(self, name)


class Way:
    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def _reach(self) -> None:
        if self.name in self.store.cut:
            raise UnreachableError("cut")

    async def get(self, *_: Any) -> Object | None:
        self._reach()
        return copy.deepcopy(self.store.object)

    async def create(self, _: Any, body: Object) -> Object:
        self._reach()
        if self.store.object is not None:
            raise ConflictError("exists")
        return self._stored(body)

    async def replace(self, _: Any, body: Object) -> Object:
        self._reach()
        known = self.store.object
        if known is None or body["metadata"]["resourceVersion"] != str(self.store.version):
            raise ConflictError("changed")
        stored = self._stored(body)
        if self.name in self.store.deaf:
            raise UnreachableError("no answer")
        return stored

    def _stored(self, body: Object) -> Object:
        self.store.version += 1
        metadata = {**body["metadata"], "uid": "u", "resourceVersion": str(self.store.version)}
        self.store.object = {**copy.deepcopy(body), "metadata": metadata}
        return copy.deepcopy(self.store.object)


def lease(store: Store, name: str) -> Lease:
    return Lease(store.way(name), "system", "operator", name)


async def took(process: Lease) -> float:
    """Return the seconds until the process leads."""
    started = asyncio.get_running_loop().time()
    await process.acquire(asyncio.Event())
    return asyncio.get_running_loop().time() - started


async def test_the_first_process_leads_and_the_second_stands_by() -> None:
    store = Store()
    first, second = lease(store, "a"), lease(store, "b")
    assert await took(first) == 0
    keeping = asyncio.create_task(first.keep())
    standing_by = asyncio.Event()
    waiting = asyncio.create_task(second.acquire(standing_by))
    await asyncio.sleep(1000)
    assert standing_by.is_set()
    assert not waiting.done()
    assert first.may_write() > WRITE_WINDOW / 2
    with pytest.raises(UnreachableError):
        second.may_write()
    keeping.cancel()
    waiting.cancel()


async def test_a_dead_leader_is_replaced_within_the_lease_duration() -> None:
    store = Store()
    await took(lease(store, "a"))
    assert DURATION <= await took(lease(store, "b")) <= DURATION + 2


async def test_a_released_lease_is_taken_at_once() -> None:
    store = Store()
    first, second = lease(store, "a"), lease(store, "b")
    await took(first)
    waiting = asyncio.create_task(took(second))
    await asyncio.sleep(30)
    await first.release()
    with pytest.raises(UnreachableError):
        first.may_write()
    await asyncio.sleep(1.5)
    assert waiting.done()


async def test_a_leader_that_is_cut_off_stops_writing_before_another_may_lead() -> None:
    store = Store()
    first, second = lease(store, "a"), lease(store, "b")
    await took(first)
    keeping = asyncio.create_task(first.keep())
    waiting = asyncio.create_task(second.acquire(asyncio.Event()))
    await asyncio.sleep(100)
    store.cut.add("a")
    while not waiting.done():
        try:
            end = asyncio.get_running_loop().time() + first.may_write()
        except UnreachableError:
            end = 0.0
        await asyncio.sleep(0.1)
    # The last write that it could have begun ended some time ago.
    assert end < asyncio.get_running_loop().time() - 1
    with pytest.raises(LeaseLostError):
        await keeping
    with pytest.raises(UnreachableError):
        first.may_write()


@pytest.mark.parametrize("skew", ["1999-01-01T00:00:00.000000Z", "2199-01-01T00:00:00.000000Z"])
async def test_the_clocks_of_other_processes_do_not_matter(skew: str) -> None:
    """A Lease with a time of long ago, or of the far future, is judged by its changes alone."""
    store = Store()
    first, second = lease(store, "a"), lease(store, "b")
    await took(first)
    waiting = asyncio.create_task(second.acquire(asyncio.Event()))
    for _ in range(40):
        assert store.object is not None
        spec = {**store.object["spec"], "renewTime": skew, "acquireTime": skew}
        await store.way("a").replace(None, {**store.object, "spec": spec})
        await asyncio.sleep(DURATION / 2)
        assert not waiting.done()
    await asyncio.sleep(DURATION + 2)
    assert waiting.done()


async def test_only_one_of_several_standbys_takes_a_free_lease() -> None:
    store = Store()
    await took(lease(store, "dead"))
    processes = [lease(store, name) for name in "abcde"]
    waiting = [asyncio.create_task(process.acquire(asyncio.Event())) for process in processes]
    await asyncio.sleep(DURATION + 3)
    assert sum(task.done() for task in waiting) == 1
    for task in waiting:
        task.cancel()


async def test_a_process_that_restarts_under_its_identity_leads_at_once() -> None:
    store = Store()
    await took(lease(store, "a"))
    assert await took(lease(store, "a")) == 0


async def test_a_lost_response_to_a_renewal_does_not_end_the_leader() -> None:
    store = Store()
    first = lease(store, "a")
    await took(first)
    keeping = asyncio.create_task(first.keep())
    store.deaf.add("a")
    await asyncio.sleep(3.5)
    store.deaf.clear()
    await asyncio.sleep(100)
    assert not keeping.done()
    assert first.may_write() > 0
    keeping.cancel()


async def test_a_successor_ends_the_previous_leader() -> None:
    store = Store()
    first, second = lease(store, "a"), lease(store, "a")
    await took(first)
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(1)
    await took(second)  # under the same identity, which no cluster allows
    with pytest.raises(LeaseLostError, match="held by a"):
        await keeping


async def test_a_deleted_lease_ends_the_leader() -> None:
    store = Store()
    first = lease(store, "a")
    await took(first)
    store.object = None
    with pytest.raises(LeaseLostError):
        await first.keep()


async def test_a_lease_without_a_spec_is_free() -> None:
    store = Store()
    await store.way("user").create(None, {"metadata": {"name": "operator"}})
    assert await took(lease(store, "a")) == 0


async def test_a_lease_is_released_even_after_a_renewal_was_cut_short() -> None:
    store = Store()
    first = lease(store, "a")
    await took(first)
    assert store.object is not None
    await store.way("a").replace(None, store.object)  # it arrived, its response did not
    await first.release()
    assert await took(lease(store, "b")) == 0
