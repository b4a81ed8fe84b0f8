"""The reasons for a failing liveness probe, and the detection of lost events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.kinds import RESOURCE
from deepseek_operator.cluster.watch import DEAD
from deepseek_operator.controller.health import LOST_LIMIT, WORK_LIMIT, Health
from deepseek_operator.controller.lost_events import EVERY, GRACE, LostEvents
from deepseek_operator.controller.queue import WorkQueue
from tests.support.operator.resources import resource
from tests.unit.operator.cluster.test_watch import Seen, Server

pytestmark = [pytest.mark.looptime]

OWNER = Key("apps", "r1")


class Api:
    """The API server's resources, listed by name and version, and a fake watch that lists them."""

    def __init__(self, cache: Cache) -> None:
        self.items: list[dict[str, Any]] = []
        self._cache = cache

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        yield self.items, 100

    async def read(self) -> None:
        self._cache.replace(RESOURCE, self.items, 100)


def at(version: int) -> dict[str, Any]:
    body = resource()
    body["metadata"]["resourceVersion"] = str(version)
    return body


def comparison(cache: Cache) -> tuple[Api, LostEvents]:
    api: Any = Api(cache)
    return api, LostEvents(api, cache, api)


async def test_a_watch_without_a_sign_of_life_is_reported() -> None:
    health = Health(Cache(), WorkQueue())
    seen = Seen(Server())
    health.watches = lambda: [seen.watch]
    assert health.ailments() == []
    await asyncio.sleep(DEAD + 1)
    assert health.ailments() == ["the watch of pods is dead: no sign of life for 241 s"]


async def test_a_stuck_reconciliation_is_reported() -> None:
    health = Health(Cache(), WorkQueue())
    health.queue.add(OWNER)
    await health.queue.get()
    await asyncio.sleep(WORK_LIMIT + 1)
    assert health.ailments() == ["a reconciliation is stuck: running for 901 s"]


async def test_a_lost_edit_is_found_and_read() -> None:
    cache = Cache()
    api, lost = comparison(cache)
    cache.put(RESOURCE, at(7))
    api.items = [at(8)]
    await lost.compare()
    assert lost.in_a_row == 1
    assert cache.version(RESOURCE, OWNER) == 8
    await lost.compare()
    assert lost.in_a_row == 0


async def test_a_lost_deletion_is_found() -> None:
    cache = Cache()
    _, lost = comparison(cache)
    cache.put(RESOURCE, at(7))
    await lost.compare()
    assert cache.resources() == []
    assert lost.in_a_row == 1


async def test_an_event_in_flight_does_not_count_as_lost() -> None:
    cache = Cache()
    api, lost = comparison(cache)
    cache.put(RESOURCE, at(7))
    api.items = [at(8)]
    asyncio.get_running_loop().call_later(GRACE / 2, cache.put, RESOURCE, at(8))
    await lost.compare()
    assert lost.in_a_row == 0


async def test_a_watch_that_keeps_losing_events_is_reported() -> None:
    cache = Cache()
    api, lost = comparison(cache)
    health = Health(cache, WorkQueue(), lost_events=lost)
    api.items = [at(1)]
    task = asyncio.create_task(lost.watch())
    await asyncio.sleep(1)
    for version in range(2, LOST_LIMIT + 2):
        assert health.ailments() == []
        api.items = [at(version)]
        await asyncio.sleep(EVERY + GRACE)
    assert health.ailments() == ["the watch of DeepSeekDeployments loses events"]
    task.cancel()
