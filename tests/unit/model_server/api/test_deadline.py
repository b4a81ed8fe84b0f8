"""Requests that exceed their deadline, in virtual time."""

import asyncio
import json

import pytest

from deepseek_server.engine.types import Output
from tests.support.model_server.scripted import HOLD, Service

STUCK = [Output((1,), "a"), HOLD]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("configured", "header", "seconds"),
    [(30, None, 30), (None, "2.5", 2.5), (30, "2", 2), (30, "100", 30), (0, "7", 7)],
)
async def test_a_whole_answer_becomes_a_504(configured, header, seconds, looptime) -> None:
    service = Service(STUCK, requestTimeoutSeconds=configured)
    answer = await service.complete({} if header is None else {"X-Request-Timeout": header})
    assert looptime == pytest.approx(seconds)
    assert answer.status_code == 504
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("deadline_exceeded", "server_error")
    assert f"exceeded its time limit of {seconds:g} s" in error["message"]
    assert service.engine.streams[0].cancelled
    assert service.sample("request_success_total", finished_reason="deadline") == 1
    assert service.lifecycle.in_flight == 0


@pytest.mark.looptime
async def test_a_stream_ends_with_an_event(looptime) -> None:
    service = Service(STUCK, requestTimeoutSeconds=5)
    answer = await service.complete(stream=True)
    assert looptime == pytest.approx(5)
    assert answer.status_code == 200
    first, *_, last = answer.text.strip().split("\n\n")
    assert '"text":"a"' in first
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert "[DONE]" not in answer.text
    assert service.engine.streams[0].cancelled
    assert service.sample("request_success_total", finished_reason="deadline") == 1


@pytest.mark.looptime
async def test_the_deadline_covers_a_missing_body() -> None:
    service = Service(requestTimeoutSeconds=5)

    # Without httpx, whose transport has read a body before the application does.
    sent: list[dict] = []
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await service.app(scope, receive, send)
    assert sent[0]["status"] == 504


async def test_a_request_within_its_deadline_is_unchanged() -> None:
    service = Service(requestTimeoutSeconds=5)
    for stream in (False, True):
        answer = await service.complete({"X-Request-Timeout": "3"}, stream=stream)
        assert answer.status_code == 200
        assert "hel" in answer.text
    assert service.sample("request_success_total", finished_reason="stop") == 2


@pytest.mark.parametrize("value", ["", "soon", "0", "-1", "nan", "inf", "1e999", "5s"])
async def test_an_invalid_timeout_header_is_rejected(value: str) -> None:
    answer = await Service().complete({"X-Request-Timeout": value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "X-Request-Timeout"
    assert "must be a number of seconds above 0" in error["message"]


async def test_probes_have_no_deadline() -> None:
    answer = await Service().client.get("/health/ready", headers={"X-Request-Timeout": "soon"})
    assert answer.status_code == 200
