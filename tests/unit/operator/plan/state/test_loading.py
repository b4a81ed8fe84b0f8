"""Load progress: from the server's response to text, and agreement with the server's stage names."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import deepseek_server
from deepseek_operator.cluster.cache import Cache, Key
from deepseek_operator.cluster.kinds import POD
from deepseek_operator.controller.loading import follow
from deepseek_operator.controller.queue import WorkQueue
from deepseek_operator.plan.state.loading import DOWNLOADING, LOADING, STAGES, WARMING_UP, Loading
from tests.support.operator.resources import pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 2**30


def answer(percent: int, left: int | None = None, detail: str = "loading r1") -> dict[str, Any]:
    return {
        "status": "loading",
        "detail": detail,
        "loadedBytes": percent * GIB,
        "totalBytes": 100 * GIB,
        "secondsLeft": left,
    }


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (answer(45, 600), "Loading the model: 40 % of 100.0 GiB, about 10 min left"),
        (answer(45, 30), "Loading the model: 40 % of 100.0 GiB, about 30 s left"),
        (answer(0), "Loading the model: 0 % of 100.0 GiB"),
        (
            answer(100, 1, "downloading r1"),
            "Downloading the model: 100 % of 100.0 GiB, about 1 s left",
        ),
        ({"status": "loading", "detail": "making the KV cache"}, "Warming up"),
        ({"status": "loading", "detail": "starting"}, "Loading the model"),
        ({"status": "loading", "totalBytes": -5, "secondsLeft": 10**30}, "Loading the model"),
    ],
)
def test_text_of_load_progress(response: dict[str, Any], words: str) -> None:
    assert str(Loading.of(response, NOW, None)) == words


# The last one is the response of vLLM and SGLang to an unknown path.
@pytest.mark.parametrize(
    "response",
    [None, [], "no", {}, {"status": "ready"}, {"detail": "loading"}, {"detail": "Not Found"}],
)
def test_response_without_progress_is_ignored(response: Any) -> None:
    assert Loading.of(response, NOW, None) is None


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())
)
FIELDS = st.sampled_from(["detail", "loadedBytes", "totalBytes", "secondsLeft"])


@settings(deadline=None)
@given(st.dictionaries(FIELDS, ANYTHING))
def test_any_response_of_a_pod_is_handled(response: dict[str, Any]) -> None:
    loading = Loading.of({"status": "loading", **response}, NOW, None)
    assert loading is not None
    assert str(loading)


def test_load_is_reported_in_few_steps() -> None:
    reports: list[Loading] = []
    before = None
    for second in range(601):
        percent = second * 100 // 600
        now = NOW + timedelta(seconds=second)
        before = Loading.of(answer(percent, 600 - second or None), now, before)
        assert before is not None
        if not reports or reports[-1] != before:
            reports.append(before)
    assert len(reports) <= 12
    assert reports[5].ends == NOW + timedelta(seconds=600)


def stages() -> Iterator[str]:
    """Yield the first word of every stage of the model server."""
    for path in Path(deepseek_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if not isinstance(called, ast.Attribute) or called.attr != "begin":
                continue
            if not ast.unparse(called.value).endswith("progress"):
                continue
            first = node.args[0]  # type: ignore[attr-defined]
            if isinstance(first, ast.JoinedStr):
                first = first.values[0]
            if isinstance(first, ast.Constant):
                yield str(first.value).split()[0]


def test_model_server_uses_the_known_stage_names() -> None:
    stage_words = set(stages())
    assert set(STAGES) <= stage_words, f"the model server knows {stage_words}"
    assert set(STAGES.values()) == {DOWNLOADING, LOADING, WARMING_UP}


async def test_loading_servers_are_polled_and_unreachable_ones_are_skipped() -> None:
    async def ready(_: web.Request) -> web.Response:
        return web.json_response(answer(50), status=503)

    app = web.Application()
    app.add_routes([web.get("/health/ready", ready)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    cache, queue = Cache(), WorkQueue[Key]()
    for name, address in (("r1", "127.0.0.1"), ("r2", "127.0.0.2"), ("r3", "::1")):
        body = pod(name, state={"running": {}})
        labels = {"deepseek-operator.io/name": name}
        body["metadata"] |= {"labels": labels, "uid": name, "resourceVersion": "1"}
        body["status"]["podIP"] = address
        cache.put(POD, body)
    following = asyncio.create_task(follow(cache, queue, port))
    try:
        assert await asyncio.wait_for(queue.get(), 5) == Key("apps", "r1")
        (view,) = cache.observe(Key("apps", "r1")).pods
        assert str(view.loading) == "Loading the model: 50 % of 100.0 GiB"
        assert cache.observe(Key("apps", "r2")).pods[0].loading is None
        assert not following.done()
    finally:
        following.cancel()
        await runner.cleanup()
