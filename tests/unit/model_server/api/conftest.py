"""Applications around engines that say what they are told to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from deepseek_server.config import validate
from deepseek_server.engine.interface import Output, Sampling
from deepseek_server.lifecycle import Lifecycle
from deepseek_server.models.codec import TokenizerCodec
from deepseek_server.serving import ServedModel
from tests.unit.model_server.api import templates
from tests.unit.model_server.api.fake import FakeEngine, make_codec, pieces


@dataclass
class Fake:
    """A running application, its engine, and clients."""

    served: ServedModel
    engine: FakeEngine
    http: httpx.Client
    api: openai.OpenAI

    def says(self, *answers: str | list[Output | Exception]) -> None:
        """The next answers, one for each request of the engine."""
        for answer in answers:
            self.engine.scripts.append(pieces(answer) if isinstance(answer, str) else answer)

    def chat(self, **body: object):
        body = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], **body}
        return self.api.chat.completions.create(**body)

    def complete(self, **body: object):
        return self.api.completions.create(**{"model": "fake", "prompt": "Hi", **body})

    @property
    def asked(self) -> Sampling:
        """What the latest request asked of the engine."""
        return self.engine.requests[-1].sampling

    @property
    def prompt(self) -> str:
        """The prompt of the latest request, with special tokens."""
        return self.served.codec.decode(self.engine.requests[-1].prompt, special=True)


@pytest.fixture(scope="session")
def codec_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None], TokenizerCodec]:
    known: dict[str | None, TokenizerCodec] = {}

    def codec(template: str | None) -> TokenizerCodec:
        if template not in known:
            directory: Path = tmp_path_factory.mktemp("tokenizer")
            known[template] = make_codec(directory, template)
        return known[template]

    return codec


@pytest.fixture
def fake_of(codec_of, run_app) -> Iterator[Callable[..., Fake]]:
    clients: list[openai.OpenAI] = []

    def fake(template: str | None, waiting: int = 1000, **fields: object) -> Fake:
        engine = FakeEngine(waiting)
        served = ServedModel("fake", engine, codec_of(template), vocabulary=640, **fields)
        lifecycle = Lifecycle(validate({"model": {"id": "fake"}}, "the test").model)
        lifecycle.ready(served)
        running = run_app(lifecycle)
        api = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
        clients.append(api)
        return Fake(served, engine, running.client, api)

    yield fake
    for client in clients:
        client.close()


@pytest.fixture
def fake(fake_of) -> Fake:
    """A model that neither reasons nor calls tools."""
    return fake_of(templates.PLAIN)
