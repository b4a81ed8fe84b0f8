"""Chat with the official client and a scripted engine."""

import json

import openai
import pytest

from deepseek_server.engine.types import EngineError, Output
from tests.unit.model_server.api import templates
from tests.unit.model_server.api.fake import pieces

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: str = "get_weather") -> dict:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


def named(name: str = "get_weather") -> dict:
    return {"type": "function", "function": {"name": name}}


CALL = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{}<｜tool▁call▁end｜>"


def test_several_choices_are_distinguished(fake) -> None:
    fake.says("first", "second")
    whole = fake.chat(n=2, seed=5)
    assert [(c.index, c.message.content) for c in whole.choices] == [(0, "first"), (1, "second")]
    assert [request.sampling.seed for request in fake.engine.requests] == [5, 6]
    assert len({request.id for request in fake.engine.requests}) == 2
    prompt = len(fake.engine.requests[0].prompt)
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (prompt, 4)

    fake.says("first", "second")
    texts, ended = {0: "", 1: ""}, []
    order = []
    for chunk in fake.chat(n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order.append(choice.index)
            ended += [choice.finish_reason] if choice.finish_reason else []
    assert texts == {0: "first", 1: "second"}
    assert ended == ["stop", "stop"]
    assert order != sorted(order)


def test_the_last_seed_is_followed_by_the_first(fake) -> None:
    fake.chat(n=2, seed=2**63 - 1)
    assert [request.sampling.seed for request in fake.engine.requests] == [2**63 - 1, -(2**63)]


def test_every_output_is_at_most_one_event(fake) -> None:
    fake.says([Output((5, 6), "a"), Output((7,), ""), Output((8,), "b", finish_reason="stop")])
    chunks = list(fake.chat(stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert deltas == ["", "a", "b"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 3
    assert chunks[-1].usage.completion_tokens == 4


def test_cached_tokens(fake) -> None:
    fake.says([Output((5,), "a", finish_reason="stop", cached_tokens=3)])
    assert fake.chat().usage.prompt_tokens_details.cached_tokens == 3
    # Answers to one prompt share its blocks, which is no cache hit.
    fake.says(*([Output((5,), "a", finish_reason="stop", cached_tokens=n)] for n in (0, 3)))
    assert fake.chat(n=2).usage.prompt_tokens_details.cached_tokens == 0


def test_a_failed_choice_stops_the_others(fake) -> None:
    fake.says([Output((5,), "a"), EngineError("it broke")], pieces("b" * 3000))
    with pytest.raises(openai.InternalServerError, match="it broke"):
        fake.chat(n=2)
    fake.says([Output((5,), "a"), EngineError("it broke")], pieces("b" * 3000))
    with pytest.raises(openai.APIError, match="it broke"):
        list(fake.chat(n=2, stream=True))
    assert all(stream.cancelled for stream in fake.engine.streams)


def test_a_full_queue_releases_admitted_choices(fake_of) -> None:
    fake = fake_of(templates.PLAIN, waiting=2)
    with pytest.raises(openai.RateLimitError):
        fake.chat(n=3)
    assert [stream.cancelled for stream in fake.engine.streams] == [True, True]


def test_sampling_parameters_are_passed_on(fake) -> None:
    fake.chat(
        presence_penalty=0.5,
        frequency_penalty=-1,
        logit_bias={"5": -100, "6": 2.5},
        stop=["a", "b"],
        max_completion_tokens=7,
        extra_body={
            "top_k": 4,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "stop_token_ids": [9],
            "min_tokens": 2,
            "ignore_eos": True,
        },
    )
    asked = fake.asked
    assert (asked.presence_penalty, asked.frequency_penalty) == (0.5, -1)
    assert (asked.top_k, asked.min_p, asked.repetition_penalty) == (4, 0.1, 1.2)
    assert asked.logit_bias == ((5, -100), (6, 2.5))
    assert (asked.stop, asked.stop_token_ids) == (("a", "b"), (9,))
    assert (asked.max_tokens, asked.min_tokens, asked.ignore_eos) == (7, 2, True)
    assert asked.logprobs is None


def test_neutral_parameters_change_nothing(fake) -> None:
    fake.chat()
    plain = fake.asked
    fake.chat(
        n=1,
        logprobs=False,
        tools=[],
        store=True,
        user="me",
        metadata={"a": "b"},
        service_tier="flex",
        modalities=["text"],
        response_format={"type": "text"},
        logit_bias={},
        stop=None,
        extra_body={"top_k": -1, "best_of": 1, "top_logprobs": None},
    )
    assert fake.asked == plain


# Reasoning


def test_reasoning_is_separated_from_the_answer(fake_of) -> None:
    fake = fake_of(templates.R1)
    fake.says("Hm, so.\n</think>\n\nHello.")
    whole = fake.chat()
    assert fake.prompt.endswith("<think>\n")
    message = whole.choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm, so.", "Hello.")
    details = whole.usage.completion_tokens_details
    assert 0 < details.reasoning_tokens < whole.usage.completion_tokens

    fake.says("Hm, so.\n</think>\n\nHello.")
    chunks = list(fake.chat(stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    contents = [delta.content or "" for delta in deltas]
    assert "".join(thoughts) == "Hm, so."
    assert "".join(contents) == "Hello."
    assert sum(map(bool, thoughts)) > 1


def test_reasoning_can_be_left_in_the_text(fake_of) -> None:
    fake = fake_of(templates.R1, reasoning="off")
    fake.says("Hm.</think>Hello.")
    assert fake.chat().choices[0].message.content == "Hm.</think>Hello."
    fake = fake_of(templates.PLAIN, reasoning="on")
    fake.says("<think>Hm.</think>Hello.")
    assert fake.chat().choices[0].message.content == "Hello."
    fake = fake_of(templates.PLAIN)
    fake.says("<think>Hm.</think>Hello.")
    assert fake.chat().choices[0].message.content == "<think>Hm.</think>Hello."


def test_a_template_that_only_removes_reasoning_implies_reasoning(fake_of) -> None:
    fake = fake_of("{{ messages[0].content.split('</think>')[-1] }}")
    fake.says("<think>Hm.</think>Hello.")
    assert fake.chat().choices[0].message.content == "Hello."


@pytest.mark.parametrize(
    ("body", "open_"),
    [
        ({}, False),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"extra_body": {"chat_template_kwargs": {"thinking": True}}}, True),
        ({"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, True),
    ],
)
def test_reasoning_is_switched_by_any_name(fake_of, body: dict, open_: bool) -> None:
    fake = fake_of(templates.V31)
    fake.says("Hm.</think>Hello." if open_ else "Hello.")
    message = fake.chat(**body).choices[0].message
    assert fake.prompt.endswith("<think>" if open_ else "</think>")
    assert message.content == "Hello."
    assert getattr(message, "reasoning_content", None) == ("Hm." if open_ else None)


# Formats


@pytest.mark.parametrize(
    ("body", "grammar"),
    [
        ({"response_format": {"type": "json_object"}}, {"json_object": True}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "city", "schema": SCHEMA, "strict": True},
                }
            },
            {"json_schema": SCHEMA},
        ),
        ({"extra_body": {"guided_json": SCHEMA}}, {"json_schema": SCHEMA}),
        ({"extra_body": {"guided_json": json.dumps(SCHEMA)}}, {"json_schema": SCHEMA}),
        ({"extra_body": {"guided_regex": "[a-z]+"}}, {"regex": "[a-z]+"}),
        ({"extra_body": {"guided_choice": ["yes", "no"]}}, {"choice": ["yes", "no"]}),
    ],
)
def test_formats_become_grammars(fake, body: dict, grammar: dict) -> None:
    fake.chat(**body)
    assert json.loads(fake.asked.grammar) == grammar
    fake.complete(extra_body={**body.pop("extra_body", {}), **body})
    assert json.loads(fake.asked.grammar) == grammar


def test_an_unsupported_grammar_is_rejected(fake_of) -> None:
    fake = fake_of(templates.PLAIN, check_grammar=lambda text: f"cannot do {text}")
    for create in (fake.chat, fake.complete):
        with pytest.raises(openai.BadRequestError, match="guided_regex: cannot do") as refused:
            create(extra_body={"guided_regex": "("})
        assert refused.value.param == "guided_regex"
    assert fake.engine.requests == []


def test_a_format_excludes_reasoning(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.says('{"a": 1}')
    answer = fake.chat(response_format={"type": "json_object"})
    assert fake.prompt.endswith("</think>")
    assert answer.choices[0].message.content == '{"a": 1}'
    with pytest.raises(openai.BadRequestError, match="starts its answers with reasoning"):
        fake.chat(response_format={"type": "json_object"}, reasoning_effort="low")
    with pytest.raises(openai.BadRequestError, match="starts its answers with reasoning"):
        fake_of(templates.R1).chat(response_format={"type": "json_object"})


# Tools


def test_calls(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.says("Let me see." + CALL)
    whole = fake.chat(tools=[tool()])
    assert "{get_weather}" in fake.prompt
    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Let me see.", "tool_calls")
    call = choice.message.tool_calls[0]
    assert (call.type, call.function.name, call.function.arguments) == (
        "function",
        "get_weather",
        "{}",
    )
    assert fake.asked.grammar == ""


def test_the_clients_stream_helper_parses_calls(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.says(CALL.replace("{}", '{"city": "Köln"}') + CALL.replace("get_weather", "now"))
    body = {"model": "fake", "messages": [USER], "tools": [tool(), tool("now")]}
    with fake.api.chat.completions.stream(**body) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [(c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("get_weather", '{"city": "Köln"}'),
        ("now", "{}"),
    ]
    assert not message.content


def test_reasoning_and_then_a_call(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.says(f"A call like {CALL}?</think>{CALL}")
    message = fake.chat(tools=[tool()], reasoning_effort="high").choices[0].message
    assert message.reasoning_content == f"A call like {CALL}?"
    assert len(message.tool_calls) == 1


def test_tool_choice_none(fake_of) -> None:
    fake = fake_of(templates.V31)
    for body in ({"tools": [tool()], "tool_choice": "none"}, {}):
        fake.says(CALL)
        choice = fake.chat(**body).choices[0]
        assert "{get_weather}" not in fake.prompt
        assert (choice.message.content, choice.finish_reason) == (CALL, "stop")


@pytest.mark.parametrize("choice", [named(), "required"])
def test_a_call_of_a_known_function_is_constrained_to_its_schema(fake_of, choice) -> None:
    fake = fake_of(templates.V31)
    fake.says('{"city": "Köln"}')
    answer = fake.chat(tools=[tool()], tool_choice=choice).choices[0]
    assert fake.prompt.endswith("<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>")
    assert json.loads(fake.asked.grammar) == {"json_schema": SCHEMA}
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    assert json.loads(answer.message.tool_calls[0].function.arguments) == {"city": "Köln"}


def test_a_call_of_any_function_has_an_opening(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.says("now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>")
    answer = fake.chat(tools=[tool(), tool("now")], tool_choice="required").choices[0]
    assert fake.prompt.endswith("<｜tool▁call▁begin｜>")
    assert fake.asked.grammar == ""
    assert answer.message.tool_calls[0].function.name == "now"


def test_a_required_call_excludes_reasoning(fake_of) -> None:
    with pytest.raises(
        openai.BadRequestError, match="starts its answers with reasoning"
    ) as refused:
        fake_of(templates.R1).chat(tools=[tool()], tool_choice="required")
    assert refused.value.param == "tool_choice"


def test_one_call_at_a_time(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.chat(tools=[tool()], parallel_tool_calls=False, stop=["x"])
    assert fake.asked.stop == ("x", "<｜tool▁call▁end｜>")


def test_a_round_trip_of_calls_reaches_the_template(fake_of) -> None:
    fake = fake_of(templates.V31)
    fake.says(CALL.replace("{}", '{"city": "Köln"}'))
    message = fake.chat(tools=[tool()]).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    # The client's objects dump all their fields.
    fake.chat(messages=[USER, message.model_dump(), result], tools=[tool()])
    assert 'get_weather<｜tool▁sep｜>{"city": "Köln"}<｜tool▁call▁end｜>' in fake.prompt
    assert f"[{message.tool_calls[0].id}: sunny]" in fake.prompt


def test_tools_without_a_known_format_are_rejected(fake) -> None:
    with pytest.raises(openai.BadRequestError, match="toolFormat"):
        fake.chat(tools=[tool()])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [tool(), tool()]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [tool()], "tool_choice": named("f")}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": [tool()],
                "tool_choice": named(),
                "response_format": {"type": "json_object"},
            },
            "tool_choice",
        ),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"640": 1}}, "logit_bias"),
        ({"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
        ({"stop_token_ids": [640]}, "stop_token_ids"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": 2, "best_of": 3}, "best_of"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 1.5}, "min_p"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": "[]"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice"),
        ({"guided_grammar": "root ::= a"}, "guided_grammar"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"json_schema": {}}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": "a",
                        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
                    }
                ]
            },
            "messages[0].tool_calls",
        ),
    ],
)
def test_invalid_fields_are_rejected(fake_of, body: dict, param: str) -> None:
    fake = fake_of(templates.V3)
    body = {"model": "fake", "messages": [USER], **body}
    response = fake.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert fake.engine.requests == []
