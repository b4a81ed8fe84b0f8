"""Log lines in text and JSON."""

import io
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn

from deepseek_server import logs
from deepseek_server.engine.types import EngineError, Output
from deepseek_server.errors import PermanentError
from tests.support.model_server.scripted import Service
from tests.unit.model_server.server.test_api_keys import entry, write

Set = Callable[..., io.StringIO]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch):
    """Set up logging as the process does, and return its output."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def set_up(**environment: str) -> io.StringIO:
        for name in ("LOG_FORMAT", "LOG_LEVEL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        logs.set_up()
        monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)  # the tests' client
        return written

    yield set_up
    root.handlers[:], level = before
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def request_line(written: io.StringIO) -> dict:
    (line,) = (x for x in lines(written) if x["logger"] == "deepseek_server.requests")
    return line


async def test_a_request_logs_one_line_at_its_end(log: Set, tmp_path: Path) -> None:
    keys = write(tmp_path / "keys.json", entry("team-a", "sk-a"))
    service = Service(apiKeysFile=str(keys))
    written = log(LOG_FORMAT="json")
    answer = await service.complete({"X-Request-Id": "abc-1", "Authorization": "Bearer sk-a"})
    line = request_line(written)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 <= line.pop("ttft_ms") <= line.pop("total_ms")
    assert line == {
        "level": "INFO",
        "logger": "deepseek_server.requests",
        "message": "request ended",
        "request_id": "abc-1",
        "key": "team-a",
        "method": "POST",
        "route": "/v1/completions",
        "status": 200,
        "response_id": answer.json()["id"],
        "prompt_tokens": 3,
        "cached_tokens": 2,
        "generated_tokens": 3,
        "queue_ms": 250.0,
        "finish_reasons": ["stop"],
    }
    assert "sk-a" not in written.getvalue()


async def test_text_has_the_same_fields(log: Set) -> None:
    written = log()
    await Service().complete({"X-Request-Id": "abc-1"}, stream=True)
    (line,) = written.getvalue().splitlines()
    assert " INFO deepseek_server.requests: request ended request_id=abc-1 method=POST " in line
    assert " status=200 " in line
    assert line.endswith(" finish_reasons=stop")


@pytest.mark.parametrize(
    ("script", "body", "status", "error", "reasons"),
    [
        ([EngineError("x")], {}, 500, "generation_failed", ["error"]),
        ([Output((1,), "a"), EngineError("x")], {"stream": True}, 200, "generation_failed", ["error"]),
        ((), {"prompt": "a", "model": "x"}, 404, "model_not_found", None),
        ((), {"max_tokens": 0}, 400, "invalid_value", None),
    ],
)  # fmt: skip
async def test_failures_are_logged(log: Set, script, body, status, error, reasons) -> None:
    written = log(LOG_FORMAT="json")
    await Service(script).complete(**body)
    line = request_line(written)
    assert (line["status"], line["error"]) == (status, error)
    assert line.get("finish_reasons") == reasons


async def test_an_exception_has_its_traceback_within_its_line(log: Set, monkeypatch) -> None:
    written = log(LOG_FORMAT="json")
    service = Service()
    monkeypatch.setattr(service.engine, "submit", lambda _: 1 / 0)
    answer = await service.complete({"X-Request-Id": "abc-1"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "abc-1"
    failure, ended = lines(written)
    assert failure["message"] == "request abc-1 failed"
    assert "ZeroDivisionError" in failure["traceback"]
    assert (ended["status"], ended["error"]) == (500, "internal_error")


async def test_probes_are_not_logged(log: Set) -> None:
    written = log()
    await Service().client.get("/health/live")
    assert written.getvalue() == ""


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "a\tb", b"\xff"])
async def test_unsafe_request_ids_are_replaced(given) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    service = Service()
    answers = [await service.complete(headers) for _ in range(2)]
    first, second = (answer.headers["x-request-id"] for answer in answers)
    assert first != second
    assert re.fullmatch(r"req-[0-9a-f]{32}", first)


async def test_duplicate_request_ids_do_not_affect_the_engine() -> None:
    service = Service()
    for _ in range(2):
        answer = await service.complete({"X-Request-Id": "twice"})
        assert answer.headers["x-request-id"] == "twice"
    first, second = service.engine.requests
    assert first.id != second.id


async def test_uvicorn_logs_in_the_same_format(log: Set) -> None:
    written = log(LOG_FORMAT="json")
    uvicorn.Config(Service().app, log_config=None)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert lines(written)[-1]["logger"] == "uvicorn.error"


def test_levels(log: Set) -> None:
    written = log(LOG_LEVEL="warning")
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert "no" not in written.getvalue()
    assert "yes" in written.getvalue()


@pytest.mark.parametrize(
    ("name", "words"), [("LOG_FORMAT", "text or json: got"), ("LOG_LEVEL", "debug, info, warning")]
)
def test_an_invalid_setting_is_rejected_with_a_message(log: Set, name: str, words: str) -> None:
    with pytest.raises(PermanentError, match=f"{name} must be .*: got '(xml|XML)'$") as failure:
        log(**{name: "xml"})
    assert words in str(failure.value)
