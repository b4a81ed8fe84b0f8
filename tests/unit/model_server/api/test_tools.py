"""Tool calls in every format, however the text is split."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_server.api.chat_parser import ChatAnswer, joined
from deepseek_server.api.markup import Parser
from deepseek_server.api.tools.choice import FORMATS, format_of
from deepseek_server.engine.types import Output
from deepseek_server.server.served_model import ServedModel
from tests.unit.model_server.api import templates

WEATHER = '{"city": "Köln", "days": [1, 2], "note": "a \\"b\\" ```c``` {"}'
NOW = "{}"


def v3(*calls: tuple[str, str]) -> str:
    each = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{each}<｜tool▁calls▁end｜>"


def v31(*calls: tuple[str, str]) -> str:
    each = "".join(
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{each}<｜tool▁calls▁end｜>"


def v32(*calls: tuple[str, str]) -> str:
    def parameter(name: str, value: object) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        kind = "true" if isinstance(value, str) else "false"
        return f'<｜DSML｜parameter name="{name}" string="{kind}">{text}</｜DSML｜parameter>\n'

    each = "".join(
        f'<｜DSML｜invoke name="{name}">\n'
        + "".join(parameter(key, value) for key, value in json.loads(arguments).items())
        + "</｜DSML｜invoke>\n"
        for name, arguments in calls
    )
    return f"\n\n<｜DSML｜function_calls>\n{each}</｜DSML｜function_calls>"


def hermes(*calls: tuple[str, str]) -> str:
    return "".join(
        f'\n<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
        for name, arguments in calls
    )


WRITE = {"deepseek-v3": v3, "deepseek-v3.1": v31, "deepseek-v3.2": v32, "hermes": hermes}
MARKER = re.compile("tool▁|DSML|tool_call")


def answer(name: str, pieces: list[str], reason: str = "stop") -> tuple[dict, list[dict], str]:
    """Return the message, the deltas and the finish reason."""
    reader = ChatAnswer(None, Parser(FORMATS[name].read))
    outputs = [Output((5,), piece) for piece in pieces] + [Output((5,), "", finish_reason=reason)]
    deltas = [reader.push(output) for output in outputs]
    return joined(deltas), [delta.json() for delta in deltas], reader.reason(outputs[-1])


def calls(message: dict) -> list[tuple[str, object]]:
    functions = [call["function"] for call in message.get("tool_calls", [])]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_calls_are_found_however_the_text_is_split(name: str, data: st.DataObject) -> None:
    text = "Let me see." + WRITE[name](("get_weather", WEATHER), ("now", NOW))
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=30).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    message, deltas, reason = answer(name, pieces)
    assert message["content"] == "Let me see."
    assert calls(message) == [("get_weather", json.loads(WEATHER)), ("now", {})]
    assert reason == "tool_calls"
    assert not any(MARKER.search(delta.get("content", "")) for delta in deltas)
    ids = [call["id"] for call in message["tool_calls"]]
    assert len(set(ids)) == 2
    assert all(id_.startswith("call_") for id_ in ids)


@pytest.mark.parametrize("name", FORMATS)
def test_arguments_are_streamed(name: str) -> None:
    _, deltas, _ = answer(name, list(WRITE[name](("get_weather", WEATHER))))
    parts = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert parts[0]["function"]["name"] == "get_weather"
    assert len(parts) > 20
    assert {part["index"] for part in parts} == {0}
    assert all("id" not in part for part in parts[1:])


@pytest.mark.parametrize("name", FORMATS)
def test_a_call_alone_has_no_content(name: str) -> None:
    message, _, _ = answer(name, [WRITE[name](("now", NOW))])
    assert message["content"] is None


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text", ["", "plain", "a < b", "<", "<tool", "<｜tool", "\n\n", "1<｜D", "\n<"]
)
def test_a_partial_marker_is_text(name: str, text: str) -> None:
    message, _, reason = answer(name, list(text))
    assert message == {"role": "assistant", "content": text}
    assert reason == "stop"


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_answer_contains_no_marker(name: str) -> None:
    text = WRITE[name](("get_weather", WEATHER), ("now", NOW))
    for length in range(len(text)):
        message, _, reason = answer(name, list(text[:length]), reason="length")
        # The start of a marker may still be text.
        assert not re.search("▁call▁begin｜|function_calls>|tool_call>", message["content"] or "")
        arguments = [c["function"]["arguments"] for c in message.get("tool_calls", [])]
        assert not any(MARKER.search(text) for text in arguments)
        assert reason == "length"


@pytest.mark.parametrize("name", FORMATS)
def test_an_opening_starts_a_call(name: str) -> None:
    text = WRITE[name](("now", WEATHER)).lstrip("\n")
    for function in ("now", None):
        opening = FORMATS[name].opening(function)
        if function is not None or name != "hermes":  # whose rest may begin in many ways
            assert text.startswith(opening)
        reader = ChatAnswer(None, Parser(FORMATS[name].read), opening)
        message = joined([reader.push(Output((5,), text[len(opening) :], finish_reason="stop"))])
        assert calls(message) == [("now", json.loads(WEATHER))]


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].json_arguments])
def test_arguments_alone_complete_an_opening(name: str) -> None:
    reader = ChatAnswer(None, Parser(FORMATS[name].read), FORMATS[name].opening("now"))
    outputs = [Output((5,), WEATHER[:9]), Output((5,), WEATHER[9:], finish_reason="stop")]
    deltas = [reader.push(output) for output in outputs]
    assert deltas[0].json()["tool_calls"][0]["function"]["name"] == "now"
    assert calls(joined(deltas)) == [("now", json.loads(WEATHER))]
    assert reader.reason(outputs[-1]) == "tool_calls"


@pytest.mark.parametrize("name", FORMATS)
def test_a_stop_after_the_first_call_keeps_it_complete(name: str) -> None:
    text = WRITE[name](("now", WEATHER), ("now", NOW))
    message, _, _ = answer(name, [text[: text.index(FORMATS[name].call_end)]])
    assert calls(message) == [("now", json.loads(WEATHER))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"arguments": {"a": 1}, "name": "f"}', [("f", {"a": 1})]),
        ('{"name": "f", "parameters": {"a": 1}}', [("f", {"a": 1})]),
        ('{"name": "f"}', [("f", {})]),
        ('{"name": "f", "arguments": {"a": "</tool_call>"}}', [("f", {"a": "</tool_call>"})]),
    ],
)
def test_other_forms_of_hermes_calls(text: str, expected: list) -> None:
    message, _, _ = answer("hermes", list(f"<tool_call>\n{text}\n</tool_call>"))
    assert calls(message) == expected


@pytest.mark.parametrize("body", ["", "f(1)", "[1]", '{"name": 5}', '{"function": "f"}', "{" * 9])
def test_invalid_hermes_calls_are_text(body: str) -> None:
    text = f"<tool_call>{body}</tool_call>"
    message, _, reason = answer("hermes", list(text))
    assert (message["content"], reason) == (text, "stop")


def test_truncated_hermes_arguments_end_at_the_marker() -> None:
    message, _, _ = answer("hermes", ['<tool_call>{"name": "f", "arguments": {"a": 1</tool_call>b'])
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": 1'
    assert message["content"] == "b"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (templates.V3, "deepseek-v3"),
        (templates.R1, "deepseek-v3"),
        (templates.V31, "deepseek-v3.1"),
        (templates.V32, "deepseek-v3.2"),
        (templates.HERMES, "hermes"),
        (templates.PLAIN, None),
        (None, None),
    ],
)
def test_the_format_is_detected_in_the_template(codec_of, template, name) -> None:
    served = ServedModel("fake", None, codec_of(template), vocabulary=640)
    assert format_of(served) is FORMATS.get(name)


def test_the_format_can_be_configured(codec_of) -> None:
    for name in ("hermes", "none"):
        codec = codec_of(templates.V3)
        served = ServedModel("fake", None, codec, vocabulary=640, tool_format=name)
        assert format_of(served) is FORMATS.get(name)
