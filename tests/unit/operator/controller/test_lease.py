"""The Lease in virtual time, against a store that keeps versions as the API server does."""

import asyncio
import copy
from typing import Any

import pytest

from deepseek_operator.cluster.errors import ConflictError, UnreachableError
from deepseek_operator.controller.lease import DURATION, WRITE_WINDOW, Lease, LeaseLostError

pytestmark = [pytest.mark.looptime]

Object = dict[str, Any]


class Store:
    """One Lease object; every process has its own way to it, which can be cut."""

    def __init__(self) -> None:
        self.object: Object | None = None
        self.version = 0
        self.cut: set[str] = set()
        # Who writes, but does not hear the answer.
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
    """Seconds until it leads."""
    started = asyncio.get_running_loop().time()
    await process.acquire(asyncio.Event())
    return asyncio.get_running_loop().time() - started


async def test_the_first_leads_and_the_second_stands_by() -> None:
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


async def test_a_holder_that_dies_is_followed_within_the_lease_time() -> None:
    store = Store()
    await took(lease(store, "a"))
    assert DURATION <= await took(lease(store, "b")) <= DURATION + 2


async def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
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


async def test_a_holder_that_is_cut_off_writes_nothing_before_another_may_lead() -> None:
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
    # The last write that it could have begun was over some time ago.
    assert end < asyncio.get_running_loop().time() - 1
    with pytest.raises(LeaseLostError):
        await keeping
    with pytest.raises(UnreachableError):
        first.may_write()


@pytest.mark.parametrize("skew", ["1999-01-01T00:00:00.000000Z", "2199-01-01T00:00:00.000000Z"])
async def test_no_clock_of_anybody_else_counts(skew: str) -> None:
    """A record with a time of long ago, or of the far future, is judged by its changes alone."""
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


async def test_of_two_that_see_a_free_lease_one_gets_it() -> None:
    store = Store()
    await took(lease(store, "dead"))
    processes = [lease(store, name) for name in "abcde"]
    waiting = [asyncio.create_task(process.acquire(asyncio.Event())) for process in processes]
    await asyncio.sleep(DURATION + 3)
    assert sum(task.done() for task in waiting) == 1
    for task in waiting:
        task.cancel()


async def test_a_process_that_comes_back_under_its_name_goes_on_at_once() -> None:
    store = Store()
    await took(lease(store, "a"))
    assert await took(lease(store, "a")) == 0


async def test_a_renewal_whose_answer_was_lost_costs_nothing() -> None:
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


async def test_a_successor_ends_the_predecessor() -> None:
    store = Store()
    first, second = lease(store, "a"), lease(store, "a")
    await took(first)
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(1)
    await took(second)  # under the same name, as no cluster allows it
    with pytest.raises(LeaseLostError, match="taken by a"):
        await keeping


async def test_a_lease_that_somebody_deletes_ends_the_holder() -> None:
    store = Store()
    first = lease(store, "a")
    await took(first)
    store.object = None
    with pytest.raises(LeaseLostError):
        await first.keep()


async def test_a_lease_that_somebody_made_without_content_is_free() -> None:
    store = Store()
    await store.way("somebody").create(None, {"metadata": {"name": "operator"}})
    assert await took(lease(store, "a")) == 0


async def test_a_renewal_that_was_cut_short_does_not_keep_the_lease_from_being_given_back() -> None:
    store = Store()
    first = lease(store, "a")
    await took(first)
    assert store.object is not None
    await store.way("a").replace(None, store.object)  # it arrived, its answer did not
    await first.release()
    assert await took(lease(store, "b")) == 0
