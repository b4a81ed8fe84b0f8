"""The official OpenAI client against a real server."""

from collections.abc import Iterator

import openai
import pytest

from deepseek_server.models.runners.paged import PagedRunner

CHAT = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def api(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == ["llama"]
    assert api.models.retrieve("llama").owned_by == "deepseek-operator"


def test_chat(api: openai.OpenAI) -> None:
    whole = api.chat.completions.create(
        model="llama", messages=CHAT, max_completion_tokens=12, temperature=0
    )
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 12
    chunks = list(
        api.chat.completions.create(
            model="llama",
            messages=CHAT,
            max_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_completions(api: openai.OpenAI) -> None:
    whole = api.completions.create(model="llama", prompt="Who", max_tokens=8, temperature=0)
    chunks = api.completions.create(
        model="llama", prompt="Who", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_n_answers_equal_those_of_their_seeds(api: openai.OpenAI) -> None:
    body = {"model": "llama", "messages": CHAT, "max_tokens": 12, "temperature": 1.5}
    alone = [api.chat.completions.create(**body, seed=seed).choices[0] for seed in (7, 8, 9)]
    expected = [choice.message.content for choice in alone]
    assert len(set(expected)) == 3
    together = api.chat.completions.create(**body, seed=7, n=3)
    assert [choice.message.content for choice in together.choices] == expected
    assert together.usage.completion_tokens <= 36
    texts = ["", "", ""]
    for chunk in api.chat.completions.create(**body, seed=7, n=3, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == expected


def test_several_prompts_are_answered_as_each_alone(api: openai.OpenAI) -> None:
    body = {"model": "llama", "max_tokens": 8, "temperature": 0}
    prompts = ["Who", "Größe", "你好"]
    expected = [api.completions.create(**body, prompt=p).choices[0].text for p in prompts]
    together = api.completions.create(**body, prompt=prompts)
    assert [choice.text for choice in together.choices] == expected
    echoed = api.completions.create(**body, prompt=prompts, echo=True)
    assert [c.text for c in echoed.choices] == [
        a + b for a, b in zip(prompts, expected, strict=True)
    ]


async def test_the_asynchronous_client(server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as api:
        stream = await api.chat.completions.create(
            model="llama", messages=CHAT, max_tokens=4, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")


def test_errors_raise_the_clients_exceptions(api: openai.OpenAI, server, monkeypatch) -> None:
    with pytest.raises(openai.NotFoundError, match="this server serves 'llama'") as missing:
        api.chat.completions.create(model="gpt-4", messages=CHAT)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="no known tool call format"):
        api.chat.completions.create(
            model="llama",
            messages=CHAT,
            tools=[{"type": "function", "function": {"name": "f"}}],
        )

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(PagedRunner, "run", fail)
    with pytest.raises(openai.APIError, match="it broke"):
        list(api.chat.completions.create(model="llama", messages=CHAT, stream=True))
