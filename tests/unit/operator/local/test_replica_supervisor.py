"""Supervision of a replica, in virtual time."""

import asyncio

import pytest

from deepseek_operator.local import replica_supervisor as supervision
from deepseek_operator.local.process import End, Health
from deepseek_operator.local.replica_supervisor import (
    OPEN_SECONDS,
    SILENT_SECONDS,
    ReplicaSupervisor,
)
from deepseek_operator.local.restarts import BUDGET, STEADY_SECONDS
from deepseek_operator.local.view import ReplicaView
from tests.unit.operator.local.fake_server import KILLED, READY, FakeServer, now

pytestmark = [pytest.mark.looptime]


class Story:
    """A replica supervisor, the servers that it started with their times, and its reports."""

    def __init__(self, health: Health | None = READY, *, drains: bool = True) -> None:
        self.servers: list[FakeServer] = []
        self.times: list[float] = []
        self.reported: list[ReplicaView] = []
        self._health, self._drains = health, drains
        self.supervisor = ReplicaSupervisor(
            ReplicaView(index=0), self._launch, self.reported.append, lambda: 1.0
        )
        self.running = asyncio.create_task(self.supervisor.run())

    async def _launch(self) -> FakeServer:
        self.servers.append(FakeServer(self._health, drains=self._drains))
        self.times.append(now())
        return self.servers[-1]

    @property
    def last(self) -> ReplicaView:
        return self.reported[-1]

    async def fail(self, end: End = KILLED) -> None:
        """Let the newest server exit after it has served for a moment."""
        await asyncio.sleep(1)
        self.servers[-1].fail(end)
        await asyncio.sleep(0.1)


async def test_restarts_have_exponential_backoff_and_a_budget() -> None:
    story = Story()
    for failure in range(1, BUDGET + 1):
        await story.fail()
        before = len(story.servers)
        assert (story.last.phase, story.last.failures) == ("pausing", failure)
        assert f"{failure} of {BUDGET}" in story.last.detail
        await asyncio.sleep(2.0 ** (failure - 1) - 0.2)
        assert len(story.servers) == before
        await asyncio.sleep(0.3)
        assert len(story.servers) == before + 1
    await story.fail()
    await asyncio.wait_for(story.running, 60)
    assert story.last.phase == "stopped"
    assert "6 times in a row" in story.last.detail
    assert story.last.starts == BUDGET + 1


async def test_long_service_resets_the_restart_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 5.0)
    story = Story()
    for _ in range(2 * BUDGET):
        await asyncio.sleep(STEADY_SECONDS + 15)
        await story.fail()
        assert story.last.failures == 1
        await asyncio.sleep(2)
    await story.supervisor.stop(1)


async def test_a_long_load_does_not_reset_the_restart_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 5.0)
    story = Story(Health("loading", "loading x"))
    for failure in (1, 2, 3):
        await asyncio.sleep(STEADY_SECONDS * 2)
        await story.fail()
        assert story.last.failures == failure
        await asyncio.sleep(5)
    await story.supervisor.stop(1)


async def test_a_permanent_failure_stops_with_the_reported_cause() -> None:
    story = Story()
    await story.fail(End(3, "exited with code 3", "there is no config.json", ("a", "b")))
    await asyncio.wait_for(story.running, 60)
    assert len(story.servers) == 1
    assert str(story.last) == (
        "replica 0 exited with code 3 (there is no config.json). A restart would fail again: "
        "fix the reported cause, then start it again."
    )
    assert story.last.ended is not None
    assert story.last.ended.log == ("a", "b")


async def test_a_dead_engine_is_explained_by_the_log() -> None:
    story = Story()
    await asyncio.sleep(1)
    line = "2026-11-29 03:00:00,000 ERROR deepseek_server.engine.client: the engine is gone: ended"
    story.servers[0].kill = lambda: story.servers[0].fail(
        End(-9, "was killed by SIGKILL", "", (line,))
    )  # type: ignore[method-assign]
    story.servers[0].health = Health("dead", "the engine has stopped")
    await asyncio.sleep(1)
    assert story.last.phase == "pausing"
    assert story.last.ended is not None
    assert story.last.ended.why == "the engine has stopped: the engine is gone: ended"
    await story.supervisor.stop(1)


async def test_unresponsive_servers_are_restarted() -> None:
    story = Story(None)
    await asyncio.sleep(OPEN_SECONDS - 1)
    assert len(story.servers) == 1
    await asyncio.sleep(4)
    assert len(story.servers) == 2
    story.servers[1].health = READY
    await asyncio.sleep(5)
    story.servers[1].health = None
    await asyncio.sleep(SILENT_SECONDS + 5)
    assert len(story.servers) == 3
    assert story.last.ended is not None
    assert "no response for" in story.last.ended.why
    await story.supervisor.stop(1)


async def test_stop_drains_the_server() -> None:
    story = Story(drains=False)
    await asyncio.sleep(2)
    stopping = asyncio.create_task(story.supervisor.stop(30))
    await asyncio.sleep(29)
    assert not story.running.done()
    story.servers[0].fail(End(0, "exited with code 0"))
    await asyncio.wait_for(asyncio.gather(stopping, story.running), 60)
    assert (story.last.phase, story.last.detail) == ("stopped", "stopped on request")
    assert len(story.servers) == 1


async def test_a_drain_that_takes_too_long_is_killed() -> None:
    story = Story(drains=False)
    await asyncio.sleep(2)
    began = now()
    await asyncio.gather(story.supervisor.stop(30), story.running)
    assert 30 < now() - began < 60


async def test_stop_during_backoff_returns_immediately() -> None:
    story = Story()
    await story.fail()
    began = now()
    await asyncio.gather(story.supervisor.stop(30), story.running)
    assert now() - began < 1
    assert len(story.servers) == 1


async def test_a_program_that_cannot_be_started_is_reported() -> None:
    reported: list[ReplicaView] = []

    async def launch() -> FakeServer:
        raise FileNotFoundError(2, "No such file or directory", "docker")

    supervisor = ReplicaSupervisor(ReplicaView(index=0), launch, reported.append, lambda: 0.0)
    await supervisor.run()
    assert reported[-1].phase == "stopped"
    assert "could not be started ([Errno 2] No such file or directory: 'docker')" in str(
        reported[-1]
    )
