"""What servers are asked before a step: their counts, and real requests to a new set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import generate_latest

from deepseek_operator.cluster.cached_object import Key
from deepseek_operator.controller.rollouts import counts, trials
from deepseek_operator.controller.rollouts.trials import Trials
from deepseek_operator.plan.state.observed import PodView
from deepseek_operator.plan.traffic.pod_endpoints import Desk
from deepseek_server.metrics import Metrics

KEY = Key("apps", "r1")
AT = "127.0.0.1"


class Server:
    """A pod's server, whose answers a test chooses."""

    def __init__(self) -> None:
        self.metrics = Metrics("m")
        self.answers: list[web.Response | str] = []
        self.asked: list[dict[str, Any]] = []
        self.port = 0

    async def counted(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.metrics.registry))

    async def complete(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        answer = self.answers.pop(0) if self.answers else '{"choices": [{"text": "hi"}]}'
        return answer if isinstance(answer, web.Response) else web.Response(text=answer)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    found = Server()
    application = web.Application()
    application.router.add_get("/metrics", found.counted)
    application.router.add_post("/v1/completions", found.complete)
    async with TestServer(application, host=AT) as running:
        found.port = running.port or 0
        monkeypatch.setattr(trials, "PORT", running.port)
        monkeypatch.setattr(trials, "PAUSE", 0.0)
        yield found


async def result(number: int = 2, address: str = AT) -> tuple[bool | None, str]:
    """Of a trial that is asked for again when it is over."""
    over = asyncio.Event()
    found = Trials(lambda _: over.set())
    ask: Callable[[], tuple[bool | None, str]] = lambda: found.result(  # noqa: E731
        KEY, "b", [("p", address)], "m", number
    )
    assert ask() == (None, "")
    await asyncio.wait_for(over.wait(), 10)
    return ask()


async def test_counts_are_read_and_silence_is_told(server: Server) -> None:
    server.metrics.answered("/v1/completions", "POST", 200)
    desk = Desk(server.port, "", "/metrics")
    pods = [(PodView("p"), AT, desk), (PodView("q"), "127.0.0.2", desk)]
    found = await counts.counts(pods, "transformers")
    assert found.samples["p"].requests == 1
    assert list(found.samples) == ["p"]
    assert "of pod q: " in found.unread


async def test_counts_of_another_engine_are_none(server: Server) -> None:
    found = await counts.counts([(PodView("p"), AT, Desk(server.port, "", "/metrics"))], "vllm")
    assert not found.samples
    assert "it does not tell what vllm counts" in found.unread


async def test_every_pod_answers_so_many_requests(server: Server) -> None:
    assert await result(3) == (True, "")
    assert [asked["model"] for asked in server.asked] == ["m"] * 3


async def test_nothing_to_ask_is_answered(server: Server) -> None:
    assert await result(0) == (True, "")
    assert not server.asked


async def test_one_failure_is_tried_once_more(server: Server) -> None:
    server.answers = [web.Response(status=503)]
    assert await result(1) == (True, "")


@pytest.mark.parametrize(("answer", "words"), [
    (web.Response(status=500, text="no"), "status 500, no"),
    ('{"choices": []}', "nothing in its answer"),
    ("[]", "its answer is not one of the API"),
    ("<html>", "its answer is not one of the API"),
])  # fmt: skip
async def test_what_fails_twice_is_told(
    server: Server, answer: web.Response | str, words: str
) -> None:
    again = answer if isinstance(answer, str) else web.Response(status=answer.status, text="no")
    first = answer if isinstance(answer, str) else web.Response(status=answer.status, text="no")
    server.answers = [first, again]
    passed, problem = await result(1)
    assert passed is False
    assert words in problem
    assert problem.startswith("Pod p of the new set did not answer a request of the operator: ")


async def test_a_pod_that_can_not_be_reached_fails(server: Server) -> None:
    passed, problem = await result(1, "127.0.0.2")
    assert passed is False
    assert "127.0.0.2" in problem


async def test_who_asks_for_a_key_answers(server: Server) -> None:
    server.answers = [web.Response(status=401)]
    assert await result(1) == (True, "")


async def test_another_revision_is_another_trial(server: Server) -> None:
    again: list[Key] = []
    found = Trials(again.append)
    assert found.result(KEY, "b", [("p", AT)], "m", 1) == (None, "")
    assert found.result(KEY, "c", [("p", AT)], "m", 1) == (None, "")
    found.forget(KEY)
    await asyncio.sleep(0)
    assert not again, "what was given up is told to nobody"
