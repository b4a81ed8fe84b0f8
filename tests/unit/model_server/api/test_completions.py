"""Completions with the official client and a scripted engine."""

import json

import openai
import pytest

from deepseek_server.engine.types import Output

WORDS = "Who streams?"  # ASCII, so that no character is split


def test_several_prompts_and_answers_are_in_order(fake) -> None:
    fake.says("a", "b", "c", "d")
    whole = fake.complete(prompt=["one", "two"], n=2, seed=3)
    assert [(c.index, c.text) for c in whole.choices] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert [request.sampling.seed for request in fake.engine.requests] == [3, 4, 3, 4]
    prompts = [request.prompt for request in fake.engine.requests]
    assert prompts[0] == prompts[1] != prompts[2] == prompts[3]
    assert whole.usage.prompt_tokens == len(prompts[0]) + len(prompts[2])


def test_several_prompts_in_a_stream(fake) -> None:
    fake.says("first", "second")
    texts = {0: "", 1: ""}
    chunks = fake.complete(
        prompt=[[5, 6], [7]], stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == {0: "first", 1: "second"}
    assert chunk.usage.prompt_tokens == 3
    assert [request.prompt for request in fake.engine.requests] == [(5, 6), (7,)]


def test_echo(fake) -> None:
    tokens = fake.served.codec.encode("Who")
    for prompt in ("Who", tokens):
        for n in (1, 2):
            fake.says(*["_are"] * n)
            whole = fake.complete(prompt=prompt, echo=True, n=n)
            assert [choice.text for choice in whole.choices] == ["Who_are"] * n
            fake.says(*["_are"] * n)
            chunks = list(fake.complete(prompt=prompt, echo=True, n=n, stream=True))
            for index in range(n):
                texts = [c.choices[0].text for c in chunks if c.choices[0].index == index]
                assert "".join(texts) == "Who_are"


def test_logprobs_of_completions(fake, logprobs_of) -> None:
    outputs, expected = logprobs_of(WORDS)
    fake.says(outputs)
    whole = fake.complete(logprobs=2).choices[0]
    assert fake.asked.logprobs == 2
    assert whole.logprobs.tokens == expected
    assert whole.logprobs.token_logprobs == [-0.5] * len(expected)
    assert whole.logprobs.top_logprobs[0] == {"a": -0.25, "b": -9999.0, expected[0]: -0.5}
    # Where every token starts in the text.
    text, offsets = WORDS, whole.logprobs.text_offset
    assert [text[o:].startswith(t) for t, o in zip(expected, offsets, strict=True)] == [True] * len(
        expected
    )

    fake.says(outputs)
    chunks = list(fake.complete(logprobs=2, stream=True))
    assert [o for c in chunks for o in c.choices[0].logprobs.text_offset] == offsets


def test_offsets_count_characters_that_tokens_split(fake, logprobs_of) -> None:
    outputs, names = logprobs_of("Grüße")
    assert len(names) == 4
    fake.says(outputs)
    assert fake.complete(logprobs=0).choices[0].logprobs.text_offset == [0, 1, 2, 3]


def test_logprobs_0_returns_the_chosen_tokens(fake, logprobs_of) -> None:
    outputs, expected = logprobs_of(WORDS, top=False)
    fake.says(outputs)
    logprobs = fake.complete(logprobs=0).choices[0].logprobs
    assert fake.asked.logprobs == 0
    assert logprobs.top_logprobs == [{token: -0.5} for token in expected]


def test_an_end_token_does_not_advance_the_text_offset(fake, logprobs_of) -> None:
    outputs, _ = logprobs_of("ab")
    last = Output((1,), "", finish_reason="stop", logprobs=outputs[0].logprobs)
    fake.says([*(Output(o.token_ids, o.text, logprobs=o.logprobs) for o in outputs), last])
    logprobs = fake.complete(logprobs=1).choices[0].logprobs
    assert logprobs.tokens[-1] == "<｜end▁of▁sentence｜>"
    assert logprobs.text_offset[-1] == 2


def test_logprobs_of_chat(fake, logprobs_of) -> None:
    outputs, expected = logprobs_of(WORDS)
    fake.says(outputs)
    content = fake.chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert fake.asked.logprobs == 2
    assert [entry.token for entry in content] == expected
    assert b"".join(bytes(entry.bytes) for entry in content).decode() == WORDS
    assert [entry.logprob for entry in content] == [-0.5] * len(expected)
    assert [(top.token, top.logprob, top.bytes) for top in content[0].top_logprobs] == [
        ("a", -0.25, [97]),
        ("b", -9999.0, [98]),
    ]
    fake.says(outputs)
    chunks = fake.chat(logprobs=True, top_logprobs=2, stream=True)
    streamed = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
    assert [entry.token for entries in streamed for entry in entries] == expected


def test_partial_characters_are_named_by_their_bytes(fake, logprobs_of) -> None:
    outputs, _ = logprobs_of("\U0001f9ff")  # in no corpus, so it is split into bytes
    fake.says(outputs)
    content = fake.chat(logprobs=True).choices[0].logprobs.content
    assert len(content) > 1
    assert content[0].token == "bytes:\\xf0" + content[0].token.removeprefix("bytes:\\xf0")
    assert b"".join(bytes(entry.bytes) for entry in content).decode() == "\U0001f9ff"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ["a"] * 65, "n": 2}, "prompt"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"suffix": "x"}, "suffix"),
        ({"prompt": ["a", [5]], "best_of": 2}, "best_of"),
        ({"prompt": ["a", []]}, "prompt"),
        ({"prompt": [["a"]]}, "prompt"),
        ({"tools": []}, "tools"),
    ],
)
def test_invalid_fields_are_rejected(fake, body: dict, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        fake.complete(prompt=body.pop("prompt", "a"), extra_body=body)
    assert refused.value.param == param
    assert fake.engine.requests == []


def test_tokenize_and_detokenize(fake) -> None:
    codec = fake.served.codec
    whole = fake.http.post("/tokenize", json={"prompt": WORDS, "return_token_strs": True}).json()
    assert whole["tokens"] == codec.encode(WORDS)
    assert whole["count"] == len(whole["tokens"])
    assert whole["max_model_len"] == 4096
    assert "".join(whole["token_strs"]) == "<｜begin▁of▁sentence｜>" + WORDS
    bare = fake.http.post("/tokenize", json={"prompt": WORDS, "add_special_tokens": False}).json()
    assert bare["tokens"] == codec.encode(WORDS, bare=True)
    assert bare["token_strs"] is None
    messages = [{"role": "user", "content": "Hi"}]
    chat = fake.http.post("/tokenize", json={"model": "fake", "messages": messages}).json()
    assert chat["tokens"] == codec.encode_chat(messages)
    text = fake.http.post("/detokenize", json={"tokens": whole["tokens"]}).json()
    assert text == {"prompt": "<｜begin▁of▁sentence｜>" + WORDS}


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("/tokenize", {"prompt": "\ud800"}, "prompt"),
        ("/detokenize", {"tokens": [640]}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {}, "tokens"),
    ],
)
def test_invalid_tokenize_requests_are_rejected(fake, route: str, body: dict, param: str) -> None:
    headers = {"content-type": "application/json"}
    response = fake.http.post(route, content=json.dumps(body), headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
