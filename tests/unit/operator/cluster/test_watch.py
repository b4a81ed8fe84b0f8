"""The watch streams in virtual time, against a scripted API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from deepseek_operator.cluster.cache import Cache
from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.cluster.errors import GoneError, UnreachableError
from deepseek_operator.cluster.kinds import EVENT, POD, Kind
from deepseek_operator.cluster.watch import Watch
from tests.support.operator.resources import pod
from tests.unit.operator.cluster.test_cache import child

pytestmark = [pytest.mark.looptime]

Stream = Callable[[int], AsyncIterator[tuple[str, dict[str, Any]]]]


class Server:
    """Lists its objects; each opened stream is the next of its script."""

    def __init__(self, *streams: Stream) -> None:
        self.listed: list[dict[str, Any]] = []
        self.version = 10
        self.lists = 0
        self.opened: list[tuple[float, int]] = []
        self._streams = list(streams)

    async def pages(self, *_: Any) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        self.lists += 1
        yield self.listed, self.version

    async def watch(self, _: Any, version: int, *__: Any) -> Any:
        self.opened.append((asyncio.get_running_loop().time(), version))
        stream = self._streams.pop(0) if self._streams else forever
        async for event in stream(version):
            yield event


async def forever(_: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    await asyncio.sleep(1e9)
    yield "BOOKMARK", {}


async def at_once(_: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    return
    yield


async def expired(_: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    raise GoneError("too old")
    yield


async def refused(_: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    raise UnreachableError("refused")
    yield


def says(*events: tuple[str, dict[str, Any]], after: float = 60) -> Stream:
    async def stream(_: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        for event in events:
            await asyncio.sleep(after)
            yield event

    return stream


class Seen:
    """A watch of pods, its cache, and everything that it reported."""

    def __init__(self, server: Server) -> None:
        self.cache = Cache()
        self.concerned: list[Key] = []
        self.restarts: list[str] = []
        client: Any = server
        self.watch = Watch(client, POD, self.cache, self.concerned.extend, self._restarted)

    def _restarted(self, _: Kind, reason: str) -> None:
        self.restarts.append(reason)

    async def run(self, seconds: float) -> None:
        task = asyncio.create_task(self.watch.run())
        await asyncio.sleep(seconds)
        task.cancel()


async def test_a_watch_lists_and_then_follows_changes() -> None:
    server = Server(
        says(("ADDED", child(pod("r1-b"), 11, "b")), ("DELETED", child(pod("r1-a"), 12, "a")))
    )
    server.listed = [child(pod("r1-a"), 3, "a")]
    seen = Seen(server)
    await seen.run(200)
    assert [view.name for view in seen.cache.observe(Key("apps", "r1")).pods] == ["r1-b"]
    assert seen.concerned == [Key("apps", "r1")] * 3
    assert server.opened[0][1] == 10


async def test_a_stream_that_the_server_ends_resumes_at_the_last_version() -> None:
    bookmark = {"metadata": {"resourceVersion": "77"}}
    server = Server(says(("BOOKMARK", bookmark)))
    seen = Seen(server)
    await seen.run(200)
    assert [version for _, version in server.opened] == [10, 77]
    assert (server.lists, seen.restarts) == (1, [])


async def test_an_expired_version_causes_a_new_list() -> None:
    server = Server(says(("BOOKMARK", {"metadata": {"resourceVersion": "15"}})), expired)
    seen = Seen(server)
    lost = child(pod("r1-a"), 3, "a")
    server.listed = [lost]
    task = asyncio.create_task(seen.watch.run())
    await asyncio.sleep(0)
    server.listed, server.version = [], 20
    await asyncio.sleep(300)
    assert server.lists == 2
    assert seen.cache.observe(Key("apps", "r1")).pods == ()
    assert seen.restarts == ["expired"]
    task.cancel()


@pytest.mark.parametrize("stream", [at_once, refused])
async def test_streams_that_end_at_once_are_reopened_with_backoff(stream: Stream) -> None:
    server = Server(*[stream] * 1000)
    seen = Seen(server)
    await seen.run(600)
    assert 15 < len(server.opened) < 40
    assert server.lists == 1


async def test_silence_counts_the_seconds_without_a_sign_of_life() -> None:
    seen = Seen(Server())
    task = asyncio.create_task(seen.watch.run())
    await asyncio.sleep(500)
    assert seen.watch.silence() == pytest.approx(500)
    task.cancel()


async def test_a_stream_without_bookmarks_ends_before_it_counts_as_dead() -> None:
    """Events have no bookmarks: their quiet stream once counted as dead every 90 seconds."""

    class Clocked(Server):
        """Sends nothing and ends each stream after its timeout."""

        async def watch(self, _: Any, version: int, seconds: int, silence: float) -> Any:
            self.opened.append((asyncio.get_running_loop().time(), version))
            async with asyncio.timeout(silence):
                await asyncio.sleep(seconds)
            return
            yield

    client: Any = Clocked()
    restarts: list[str] = []
    watch = Watch(client, EVENT, Cache(), lambda _: None, lambda _, why: restarts.append(why))
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(3600)
    assert len(client.opened) > 40
    assert (restarts, watch.is_dead(), client.lists) == ([], False, 1)
    task.cancel()
