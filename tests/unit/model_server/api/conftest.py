"""Applications with scripted engines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from deepseek_server.config import validate
from deepseek_server.engine.types import Logprobs, Output, Sampling
from deepseek_server.models.tokenizer import TokenizerCodec
from deepseek_server.server.lifecycle import Lifecycle
from deepseek_server.server.served_model import ServedModel
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
        """Script the next answers, one for each request to the engine."""
        for answer in answers:
            self.engine.scripts.append(pieces(answer) if isinstance(answer, str) else answer)

    def chat(self, **body: object):
        body = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], **body}
        return self.api.chat.completions.create(**body)

    def complete(self, **body: object):
        return self.api.completions.create(**{"model": "fake", "prompt": "Hi", **body})

    @property
    def asked(self) -> Sampling:
        """The sampling parameters of the latest request."""
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


@pytest.fixture(scope="session")
def app(run_app) -> Iterator[tuple[Lifecycle, httpx.Client, openai.OpenAI]]:
    """One application for all tests, which replace its model."""
    lifecycle = Lifecycle(validate({"model": {"id": "fake"}}, "the test").model)
    running = run_app(lifecycle)
    url = f"{running.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as api:
        yield lifecycle, running.client, api


@pytest.fixture
def fake_of(app, codec_of) -> Callable[..., Fake]:
    """Create a model and serve it instead of the previous one."""
    lifecycle, http, api = app

    def fake(template: str | None, waiting: int = 1000, **fields: object) -> Fake:
        engine = FakeEngine(waiting)
        served = ServedModel("fake", engine, codec_of(template), vocabulary=640, **fields)
        lifecycle.ready(served)
        return Fake(served, engine, http, api)

    return fake


@pytest.fixture
def fake(fake_of) -> Fake:
    """A model that neither reasons nor calls tools."""
    return fake_of(templates.PLAIN)


@pytest.fixture
def logprobs_of(codec_of) -> Callable[..., tuple[list[Output], list[str]]]:
    """Return outputs of a text with log probabilities, and the tokens' names if all have one."""
    codec = codec_of(templates.PLAIN)
    (likely,), (unlikely,) = codec.encode("a", bare=True), codec.encode("b", bare=True)

    def outputs(text: str, *, top: bool = True) -> tuple[list[Output], list[str]]:
        tokens = codec.encode(text, bare=True)
        logprobs = Logprobs(-0.5, ((likely, -0.25), (unlikely, float("-inf"))) if top else ())
        names = [codec.token_bytes(token).decode(errors="replace") for token in tokens]
        made = [Output((t,), n, logprobs=(logprobs,)) for t, n in zip(tokens, names, strict=True)]
        last = Output(made[-1].token_ids, made[-1].text, "stop", logprobs=(logprobs,))
        return [*made[:-1], last], names

    return outputs
