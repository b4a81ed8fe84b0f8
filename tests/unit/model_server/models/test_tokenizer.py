"""Encoding and decoding of single tokens and conversations."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_server.models.tokenizer import TokenizerCodec
from tests.unit.model_server.api import templates
from tests.unit.model_server.api.fake import make_codec

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CALLED = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]


@pytest.fixture(scope="module")
def codec_of(tmp_path_factory):
    return lambda template: make_codec(tmp_path_factory.mktemp("tokenizer"), template)


@pytest.fixture(scope="module")
def codec(codec_of) -> TokenizerCodec:
    return codec_of(templates.V3)


def text(codec: TokenizerCodec, *arguments: object, **fields: object) -> str:
    return codec.decode(codec.encode_chat(*arguments, **fields), special=True)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20))
def test_the_bytes_of_tokens_are_those_of_the_text(codec: TokenizerCodec, text: str) -> None:
    tokens = codec.encode(text, bare=True)
    assert b"".join(map(codec.token_bytes, tokens)) == text.encode()
    assert codec.decode(tokens, special=True) == text


def test_unknown_token_ids_have_no_bytes(codec: TokenizerCodec) -> None:
    assert codec.token_bytes(100_000) == b""


def test_markers_stay_in_the_text_and_other_special_tokens_do_not(codec: TokenizerCodec) -> None:
    inside = "<think>a</think>b<｜tool▁calls▁begin｜>c"
    tokens = codec.encode(f"<｜User｜>{inside}<｜end▁of▁sentence｜>")
    assert codec.decode(tokens) == inside
    assert codec.decode(tokens, special=True).startswith("<｜begin▁of▁sentence｜><｜User｜>")
    hidden = [codec.token_bytes(token).decode() for token in tokens if codec.is_hidden(token)]
    assert hidden == ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜end▁of▁sentence｜>"]


def test_a_bare_text_gets_no_begin_token(codec: TokenizerCodec) -> None:
    assert codec.encode("Hi") == [0, *codec.encode("Hi", bare=True)]


def test_tools_and_variables_reach_the_template(codec_of) -> None:
    codec = codec_of(templates.V31)
    assert text(codec, [USER], [TOOL]).endswith("<｜User｜>Hi{f}<｜Assistant｜></think>")
    assert text(codec, [USER], variables={"thinking": True}).endswith("<｜Assistant｜><think>")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (templates.V3, 'f\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>'),
        (templates.V31, '<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>'),
        (templates.HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'),
    ],
)
def test_earlier_tool_calls_are_rendered_by_the_template(
    codec_of, template: str, expected: str
) -> None:
    assert expected in text(codec_of(template), CALLED)


def test_arguments_that_are_not_json_stay_text(codec_of) -> None:
    broken = json.loads(json.dumps(CALLED).replace('{\\"a\\": 1}', "oops"))
    assert '<｜tool▁sep｜>"oops"<' in text(codec_of(templates.V31), broken)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no such turn') }}", "no such turn"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ messages[0].content.missing.deeper }}", "missing"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[0].content.__class__.mro() }}", "unsafe"),
    ],
)
def test_failing_templates_report_the_cause(codec_of, template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        codec_of(template).encode_chat([USER])


def test_several_templates(codec_of) -> None:
    codec = codec_of({"default": "plain", "tool_use": "with tools"})
    assert text(codec, [USER]) == "plain"
    assert text(codec, [USER], [TOOL]) == "with tools"
    assert "plain" in codec.chat_template
    assert "with tools" in codec.chat_template
