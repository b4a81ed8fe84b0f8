"""Evidence for a rollout step: metrics of servers, and test requests to a new set."""

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
from deepseek_operator.plan.traffic.pod_endpoints import ScrapeTarget
from deepseek_server.metrics import Metrics

KEY = Key("apps", "r1")
AT = "127.0.0.1"


class Server:
    """A pod's server with scripted responses."""

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
    """Return the result of the test requests, read again when they are over."""
    over = asyncio.Event()
    found = Trials(lambda _: over.set())
    ask: Callable[[], tuple[bool | None, str]] = lambda: found.result(  # noqa: E731
        KEY, "b", [("p", address)], "m", number
    )
    assert ask() == (None, "")
    await asyncio.wait_for(over.wait(), 10)
    return ask()


async def test_metrics_are_read_and_an_unreachable_pod_is_named(server: Server) -> None:
    server.metrics.answered("/v1/completions", "POST", 200)
    scrape_target = ScrapeTarget(server.port, "", "/metrics")
    pods = [(PodView("p"), AT, scrape_target), (PodView("q"), "127.0.0.2", scrape_target)]
    found = await counts.counts(pods, "transformers")
    assert found.samples["p"].requests == 1
    assert list(found.samples) == ["p"]
    assert "of pod q: " in found.scrape_error


async def test_metrics_of_another_engine_give_no_sample(server: Server) -> None:
    found = await counts.counts(
        [(PodView("p"), AT, ScrapeTarget(server.port, "", "/metrics"))], "vllm"
    )
    assert not found.samples
    assert "it lacks the metrics of vllm" in found.scrape_error


async def test_a_pod_gets_the_given_number_of_requests(server: Server) -> None:
    assert await result(3) == (True, "")
    assert [asked["model"] for asked in server.asked] == ["m"] * 3


async def test_zero_requests_pass_without_a_request(server: Server) -> None:
    assert await result(0) == (True, "")
    assert not server.asked


async def test_a_failed_request_is_retried_once(server: Server) -> None:
    server.answers = [web.Response(status=503)]
    assert await result(1) == (True, "")


@pytest.mark.parametrize(("answer", "words"), [
    (web.Response(status=500, text="no"), "status 500, no"),
    ('{"choices": []}', "the response has no choices"),
    ("[]", "the response is not a completion"),
    ("<html>", "the response is not a completion"),
])  # fmt: skip
async def test_a_second_failure_is_reported(
    server: Server, answer: web.Response | str, words: str
) -> None:
    again = answer if isinstance(answer, str) else web.Response(status=answer.status, text="no")
    first = answer if isinstance(answer, str) else web.Response(status=answer.status, text="no")
    server.answers = [first, again]
    passed, problem = await result(1)
    assert passed is False
    assert words in problem
    assert problem.startswith("Pod p of the new set failed a test request: ")


async def test_an_unreachable_pod_fails(server: Server) -> None:
    passed, problem = await result(1, "127.0.0.2")
    assert passed is False
    assert "127.0.0.2" in problem


async def test_a_server_that_requires_an_api_key_passes(server: Server) -> None:
    server.answers = [web.Response(status=401)]
    assert await result(1) == (True, "")


async def test_a_new_revision_starts_new_test_requests(server: Server) -> None:
    again: list[Key] = []
    found = Trials(again.append)
    assert found.result(KEY, "b", [("p", AT)], "m", 1) == (None, "")
    assert found.result(KEY, "c", [("p", AT)], "m", 1) == (None, "")
    found.forget(KEY)
    await asyncio.sleep(0)
    assert not again, "cancelled test requests queue no resource"
