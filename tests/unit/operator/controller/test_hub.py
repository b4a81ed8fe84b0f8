"""Reading of config.json from a hub: how often, and the problems that are reported."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from deepseek_operator.controller import hub as module
from deepseek_operator.controller.hub import FIRST_DELAY, LAST_DELAY, MISSING_DELAY, Hub
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.plan import decide, unread_file
from deepseek_operator.plan.state.observed import ConfigFile, Observed
from deepseek_operator.plan.state.settings import Settings
from tests.support.operator.resources import resource

CONFIG = {"model_type": "llama", "hidden_size": 64}


@dataclass
class Served:
    """A hub on loopback."""

    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    answer: Callable[[], Awaitable[web.Response]] = field(default=lambda: _ok())

    def file(self, model_id: str = "someone/tuned", revision: str = "main") -> ConfigFile:
        return ConfigFile(self.endpoint, model_id, revision)


async def _ok() -> web.Response:
    return web.json_response(CONFIG)


def status(code: int, text: str = "") -> Callable[[], Awaitable[web.Response]]:
    async def answer() -> web.Response:
        return web.Response(status=code, text=text)

    return answer


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    state = Served()

    async def handle(request: web.Request) -> web.Response:
        state.asked.append(request.raw_path)
        return await state.answer()

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    state.endpoint = f"http://{host}:{port}"
    yield state
    await runner.cleanup()


async def test_a_file_is_read_once_for_all_callers(served: Served) -> None:
    hub = Hub()
    files = await asyncio.gather(*(hub.read(served.file()) for _ in range(20)))
    files.append(await hub.read(served.file()))
    assert all(file.content == CONFIG for file in files)
    assert served.asked == ["/someone/tuned/resolve/main/config.json"]


async def test_a_revision_is_quoted_in_the_path(served: Served) -> None:
    await Hub().read(served.file(revision="../../admin?x=#"))
    assert served.asked == ["/someone/tuned/resolve/..%2F..%2Fadmin%3Fx=%23/config.json"]


async def test_a_missing_file_is_looked_up_again_later(served: Served) -> None:
    clock = Clock()
    hub, served.answer = Hub(clock), status(404)
    for _ in range(3):
        found = await hub.read(served.file())
        assert found.content is None
        assert "someone/tuned/resolve/main/config.json returned 404" in found.problem
    assert len(served.asked) == 1
    clock.now, served.answer = MISSING_DELAY, _ok
    assert (await hub.read(served.file())).content == CONFIG


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not JSON"), ("[1]", "holds no JSON object"), ("x" * 2**20 + "y", "is too large")],
)
async def test_an_invalid_config_json_is_reported(served: Served, text: str, words: str) -> None:
    served.answer = status(200, text)
    found = await Hub().read(served.file())
    assert found.content is None
    assert words in found.problem


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_failing_hub_is_retried_with_exponential_backoff(served: Served, code: int) -> None:
    clock = Clock()
    hub, served.answer = Hub(clock), status(code)
    delay = FIRST_DELAY
    for number in range(1, 10):
        for name in ("someone/tuned", "someone/other"):
            assert f"returned {code}" in (await hub.read(served.file(name))).problem
        assert len(served.asked) == number
        clock.now += delay
        delay = min(2 * delay, LAST_DELAY)
    served.answer = _ok
    assert (await hub.read(served.file())).content == CONFIG
    assert (await hub.read(served.file("someone/other"))).content == CONFIG


async def test_concurrent_failures_of_a_hub_count_as_one(served: Served) -> None:
    clock = Clock()
    hub, served.answer = Hub(clock), status(503)
    await asyncio.gather(*(hub.read(served.file(f"a/{number}")) for number in range(9)))
    clock.now, served.answer = FIRST_DELAY, _ok
    assert (await hub.read(served.file())).content == CONFIG


async def test_a_hub_that_hangs_times_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    served.answer = never
    assert "can't be read (TimeoutError)" in (await Hub().read(served.file())).problem


async def test_an_unreachable_hub_is_reported() -> None:
    found = await Hub().read(ConfigFile("http://127.0.0.1:9", "someone/tuned", "main"))
    assert "can't be read (ClientConnectorError)" in found.problem


async def test_the_number_of_remembered_files_is_limited(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    hub = Hub()
    for name in ("a/a", "a/b", "a/c", "a/c", "a/a"):
        await hub.read(served.file(name))
    assert [path.split("/")[2] for path in served.asked] == ["a", "b", "c", "a"]


MIRROR = Settings("image", hub_endpoint="http://mirror")


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        (None, True),
        ({"huggingFace": {"endpoint": "http://mirror"}}, True),
        ({"huggingFace": {"endpoint": "http://169.254.169.254"}}, False),
        ({"huggingFace": {"tokenSecret": {"name": "hf"}}}, False),
        ({"pvc": {"claimName": "models"}}, False),
    ],
)
def test_only_the_hub_of_the_installation_is_contacted(source: object, asked: bool) -> None:
    model = {"id": "someone/tuned", **({"source": source} if source else {})}
    body = resource(model=model, accelerator={"count": 1})
    wanted = ConfigFile("http://mirror", "someone/tuned", "main")
    assert unread_file(body, MIRROR) == (wanted if asked else None)
    assert isinstance(decide(body, MIRROR, Observed()), DesiredState)


def test_no_file_is_read_for_known_models_or_for_the_cpu() -> None:
    assert unread_file(resource(accelerator={"count": 1}), MIRROR) is None
    assert unread_file(resource(model={"id": "someone/tuned"}), MIRROR) is None
    assert unread_file(resource(accelerator={"count": "many"}), MIRROR) is None
