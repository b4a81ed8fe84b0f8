"""Tests of results that concurrent callers share."""

import asyncio

import pytest

from deepseek_operator.custom_metrics.shared import Shared


async def test_a_cancelled_caller_does_not_cancel_the_request_of_others() -> None:
    asked = 0
    go = asyncio.Event()

    async def ask(key: str) -> str:
        nonlocal asked
        asked += 1
        await go.wait()
        return key.upper()

    shared = Shared(60.0, ask)
    first, second = asyncio.create_task(shared.get("a")), asyncio.create_task(shared.get("a"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == "A"
    assert asked == 1


@pytest.mark.looptime
async def test_a_result_expires() -> None:
    asked: list[str] = []

    async def ask(key: str) -> str:
        asked.append(key)
        return key

    shared = Shared(2.0, ask)
    await shared.get("a")
    await asyncio.sleep(1.9)
    await shared.get("a")
    assert asked == ["a"]
    await asyncio.sleep(0.2)
    await shared.get("a")
    assert asked == ["a", "a"]
