"""Chat and completions over HTTP, for every family."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from deepseek_server.models.tokenizer import TokenizerCodec
from hack.models.families import FAMILIES

CHAT = [{"role": "user", "content": "Who are you?"}]


def events(response) -> list[dict]:
    """Return the JSON values of a stream, and check its end."""
    lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def stream(client, route: str, **body) -> list[dict]:
    with client.stream("POST", route, json={**body, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return events(response)


def post(client, route: str, **body) -> dict:
    response = client.post(route, json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_those_of_generate(family: str, serve_family, tiny) -> None:
    client = serve_family(family).client
    body = {"model": family, "max_tokens": 24, "temperature": 0, "return_token_ids": True}
    chat = post(client, "/v1/chat/completions", **body, messages=CHAT)
    codec = TokenizerCodec(tiny(family))
    prompt = codec.encode_chat(CHAT)
    assert chat["prompt_token_ids"] == prompt

    model = AutoModelForCausalLM.from_pretrained(tiny(family), dtype=torch.float32)
    expected = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        max_new_tokens=24,
        do_sample=False,
    )[0, len(prompt) :].tolist()
    choice = chat["choices"][0]
    assert choice["token_ids"] == expected
    assert choice["message"] == {"role": "assistant", "content": codec.decode(expected)}
    assert chat["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": len(expected),
        "total_tokens": len(prompt) + len(expected),
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }

    streamed = stream(client, "/v1/chat/completions", **body, messages=CHAT)
    deltas = [event["choices"][0] for event in streamed]
    assert [id_ for delta in deltas for id_ in delta.get("token_ids", [])] == expected
    assert "".join(d["delta"].get("content", "") for d in deltas) == codec.decode(expected)

    completion = post(client, "/v1/completions", **body, prompt=prompt)
    assert completion["choices"][0]["token_ids"] == expected
    assert completion["choices"][0]["text"] == codec.decode(expected)


def test_the_shape_of_a_chat_stream(client) -> None:
    chunks = stream(
        client,
        "/v1/chat/completions",
        model="llama",
        messages=CHAT,
        max_tokens=5,
        stream_options={"include_usage": True},
    )
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert len(chunks) <= 1 + 5 + 1  # the role, at most one for every token, the usage
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5


def test_the_shape_of_a_completion_stream(client) -> None:
    chunks = stream(client, "/v1/completions", model="llama", prompt="Who", max_tokens=5)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_equals_the_whole_answer(client, seed: int) -> None:
    body = {"model": "llama", "prompt": "Größe 你好", "max_tokens": 60, "seed": seed}
    whole = post(client, "/v1/completions", **body, temperature=1.5)["choices"][0]
    chunks = stream(client, "/v1/completions", **body, temperature=1.5)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_seeds(client) -> None:
    body = {"model": "llama", "prompt": "Who", "max_tokens": 16, "temperature": 1.0}

    def text(seed: int) -> str:
        return post(client, "/v1/completions", **body, seed=seed)["choices"][0]["text"]

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_the_models_recommended_sampling_is_the_default(server) -> None:
    assert (server.served.defaults.temperature, server.served.defaults.top_p) == (0.6, 0.95)
    body = {"model": "llama", "prompt": "Who", "max_tokens": 16, "seed": 3}
    named = post(server.client, "/v1/completions", **body, temperature=0.6, top_p=0.95)
    unnamed = post(server.client, "/v1/completions", **body)
    assert named["choices"] == unnamed["choices"]


def test_stop_strings_across_tokens(client) -> None:
    body = {"model": "llama", "prompt": [0, 5, 6], "max_tokens": 40, "temperature": 0}
    whole = post(client, "/v1/completions", **body)["choices"][0]["text"]
    stop = next(whole[i : i + 9] for i in range(10, 60) if "\ufffd" not in whole[i : i + 9])
    expected = whole[: whole.index(stop)]
    for form in (stop, ["never in there", stop]):
        choice = post(client, "/v1/completions", **body, stop=form)["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == (expected, "stop")
        chunks = stream(client, "/v1/completions", **body, stop=form)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_has_no_partial_characters(client) -> None:
    body = {"model": "llama", "messages": CHAT, "max_tokens": 200, "temperature": 2.0, "seed": 5}
    whole = post(client, "/v1/chat/completions", **body)["choices"][0]["message"]["content"]
    parts = [
        chunk["choices"][0]["delta"].get("content", "")
        for chunk in stream(client, "/v1/chat/completions", **body)
    ]
    assert "".join(parts) == whole
    assert sum(part.count("\ufffd") for part in parts) == whole.count("\ufffd")


def test_forms_of_prompts(client, server) -> None:
    body = {"model": "llama", "max_tokens": 4, "temperature": 0, "return_token_ids": True}
    ids = server.served.codec.encode("Who are you?")
    answers = [
        post(client, "/v1/completions", **body, prompt=prompt)["choices"]
        for prompt in ("Who are you?", ["Who are you?"], ids, [ids])
    ]
    assert answers[0][0]["prompt_token_ids"] == ids
    assert all(answer == answers[0] for answer in answers)


def test_text_parts_are_joined_and_developer_is_system(client) -> None:
    body = {"model": "llama", "max_tokens": 1, "return_token_ids": True}
    plain = [{"role": "system", "content": "Be kind."}, *CHAT]
    halves = [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]
    parts = [{"role": "developer", "content": halves}, *CHAT]
    ids = [
        post(client, "/v1/chat/completions", **body, messages=messages)["prompt_token_ids"]
        for messages in (plain, parts)
    ]
    assert ids[0] == ids[1]


def test_the_maximum_length_of_an_answer(client) -> None:
    def count(route: str, **body) -> int:
        answer = post(client, route, model="llama", ignore_eos=True, **body)
        return answer["usage"]["completion_tokens"]

    assert count("/v1/completions", prompt="Who") == 16
    assert count("/v1/chat/completions", messages=CHAT, max_tokens=3) == 3
    assert count("/v1/chat/completions", messages=CHAT, max_completion_tokens=4) == 4
    assert count("/v1/completions", prompt=[5] * 4090, max_tokens=6) == 6
    assert count("/v1/chat/completions", messages=[{"role": "user", "content": "\n" * 4000}]) < 100


def test_parameters_without_effect_are_accepted(client) -> None:
    post(
        client,
        "/v1/chat/completions",
        model="llama",
        messages=CHAT,
        max_tokens=1,
        n=1,
        frequency_penalty=0,
        presence_penalty=0.0,
        logprobs=False,
        top_logprobs=None,
        tools=[],
        response_format={"type": "text"},
        user="me",
        metadata={"a": "b"},
        stop=None,
        seed=None,
    )
