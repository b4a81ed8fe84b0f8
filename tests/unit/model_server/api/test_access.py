"""API keys and rate limits, as seen by a client."""

import asyncio
from pathlib import Path

import pytest

from deepseek_server.engine.types import Output
from tests.support.model_server.scripted import HOLD, Service
from tests.unit.model_server.server.test_api_keys import entry, write


def guarded(tmp_path: Path, script=None, **limits: int) -> Service:
    path = write(tmp_path / "keys.json", entry("team-a", "sk-a", **limits), entry("b", "sk-b"))
    extra = {} if script is None else {"script": script}
    return Service(apiKeysFile=str(path), **extra)


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "missing API key"),
        ("", "missing API key"),
        ("Bearer ", "missing API key"),
        ("Basic c2stYQ==", "missing API key"),
        ("sk-a", "missing API key"),
        ("Bearer sk-A", "unknown API key"),
        ("Bearer sk-a sk-a", "unknown API key"),
        (b"Bearer \xff\xfe", "unknown API key"),
    ],
)
async def test_a_request_without_a_valid_key_is_rejected(
    tmp_path: Path, header, words: str
) -> None:
    service = guarded(tmp_path)
    headers = {} if header is None else {"Authorization": header}
    for answer in (
        await service.complete(headers),
        await service.client.get("/v1/models", headers=headers),
        await service.client.get("/no/such/route", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
        assert words in error["message"]
    assert service.engine.requests == []


async def test_a_request_with_a_valid_key_is_admitted(tmp_path: Path) -> None:
    service = guarded(tmp_path)
    for header in ("Bearer sk-a", "bearer sk-b", "Bearer  sk-b "):
        answer = await service.complete({"Authorization": header})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_probes_and_scrapes_need_no_key(tmp_path: Path) -> None:
    service = guarded(tmp_path)
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await service.client.get(path)).status_code == 200
    assert service.sample("api_keys") == 2
    assert service.sample("api_keys_file_valid") == 1


async def test_without_a_keys_file_every_request_is_admitted() -> None:
    service = Service()
    assert (await service.complete()).status_code == 200
    assert (await service.complete(bearing("anything"))).status_code == 200
    assert service.sample("api_keys") is None


async def test_requests_per_minute(tmp_path: Path) -> None:
    service = guarded(tmp_path, requestsPerMinute=2)
    for left in ("1", "0"):
        answer = await service.complete(bearing("sk-a"))
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == left
    refused = await service.complete(bearing("sk-a"))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert "'team-a' has reached its limit of 2 requests per minute" in refused.text
    assert 29 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].startswith(("59.", "1m0s"))
    assert (await service.complete(bearing("sk-b"))).status_code == 200


async def test_tokens_per_minute_count_prompts_and_answers(tmp_path: Path) -> None:
    service = guarded(tmp_path, tokensPerMinute=9)
    first = await service.complete(bearing("sk-a"), prompt=[5] * 4)  # and 3 in the answer
    assert first.headers["x-ratelimit-remaining-tokens"] == "2"
    # A stream's head is sent when its prompt is paid and its answer is not.
    stream = await service.complete(bearing("sk-a"), prompt=[5], stream=True)
    assert stream.headers["x-ratelimit-remaining-tokens"] == "1"
    refused = await service.complete(bearing("sk-a"))
    assert refused.status_code == 429
    assert "9 tokens per minute" in refused.text


async def test_concurrent_requests(tmp_path: Path) -> None:
    service = guarded(tmp_path, [Output((1,), "a"), HOLD], maxConcurrent=1)
    running = asyncio.create_task(service.complete(bearing("sk-a")))
    await service.engine.asked.wait()
    refused = await service.complete(bearing("sk-a"))
    assert refused.status_code == 429
    assert "1 concurrent requests" in refused.text
    assert refused.headers["retry-after"] == "1"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert service.engine.streams[0].cancelled
    service.engine.script = [Output((1,), "a", finish_reason="stop")]
    assert (await service.complete(bearing("sk-a"))).status_code == 200


async def test_a_concurrent_slot_is_freed_after_every_kind_of_end(tmp_path: Path) -> None:
    service = guarded(tmp_path, maxConcurrent=1)
    for body in ({"stream": True}, {"prompt": []}, {"model": "other"}, {}):
        answer = await service.complete(bearing("sk-a"), **body)
        assert answer.status_code != 429
    assert (await service.complete(bearing("sk-a"))).status_code == 200
