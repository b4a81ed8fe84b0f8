"""The supervisor of a resource, with fake servers."""

import asyncio
import os
import socket
from pathlib import Path

import aiohttp
import pytest

from deepseek_operator.local import process
from deepseek_operator.local.launch_plan import LaunchPlan, Replica
from deepseek_operator.local.process import End
from deepseek_operator.local.state_dir import StateDir
from deepseek_operator.local.supervisor import Supervisor, endpoint
from deepseek_operator.local.view import View
from tests.unit.operator.local.fake_server import FakeServer

MISTAKE = End(3, "exited with code 3", "there is no config.json")


class Run:
    """A running supervisor and the statuses that it has reported."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, drains: bool) -> None:
        self.servers: list[FakeServer] = []
        self.shown: list[View] = []
        self.state_dir = StateDir(folder)

        async def start(*_: object) -> FakeServer:
            self.servers.append(FakeServer(drains=drains))
            return self.servers[-1]

        monkeypatch.setattr(process, "start", start)
        launch_plan = LaunchPlan(
            name="r1",
            model_id="tiny",
            served_name="tiny",
            source="",
            runs_on="CPU",
            config={"drainSeconds": 60},
            replicas=(Replica(index=0), Replica(index=1)),
            run=f"unit-{os.getpid()}",
        )
        listening = socket.create_server(("127.0.0.1", 0))
        self.supervisor = Supervisor(launch_plan, self.state_dir, listening, self.shown.append)
        self.running = asyncio.create_task(self.supervisor.run())

    async def until(self, state: str) -> None:
        async with asyncio.timeout(10):
            while self.supervisor.view.state != state:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.02)


async def test_the_second_signal_stops_immediately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, drains=False)
    await run.until("Ready")
    run.supervisor.request_stop()
    await run.until("Draining")
    await asyncio.wait({run.running}, timeout=0.3)
    assert not run.running.done()
    assert all(server.asked_at for server in run.servers)
    run.supervisor.request_stop()
    assert await asyncio.wait_for(run.running, 5)
    assert len(run.servers) == 2
    kept = run.state_dir.view()
    assert kept is not None
    assert kept.state == "Stopped"


async def test_the_resource_fails_once_all_replicas_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, drains=True)
    await run.until("Ready")
    run.servers[0].fail(MISTAKE)
    await run.until("Degraded")
    run.servers[1].fail(MISTAKE)
    assert not await asyncio.wait_for(run.running, 5)
    kept = run.state_dir.view()
    assert kept is not None
    assert kept.state == "Failed"
    assert [replica.phase for replica in kept.replicas] == ["stopped", "stopped"]


async def test_the_endpoint_reports_readiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, monkeypatch, drains=True)
    await run.until("Ready")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{run.supervisor.view.endpoint}/health/ready") as answer,
    ):
        assert (answer.status, (await answer.json())["readyReplicas"]) == (200, 2)
    run.supervisor.request_stop()
    await asyncio.wait_for(run.running, 5)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("192.0.2.1", "http://192.0.2.1:80"),
        ("::", "http://[::1]:80"),
        ("2001:db8::1", "http://[2001:db8::1]:80"),
    ],
)
def test_endpoint_urls(host: str, url: str) -> None:
    assert endpoint(host, 80) == url
