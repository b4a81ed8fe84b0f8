"""Reasoning is separated from the answer, however the text is split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_server.api import reasoning
from deepseek_server.api.chat_parser import ChatAnswer, joined
from deepseek_server.engine.types import Output


def message(prompt_end: str, pieces: list[str]) -> dict:
    reader = ChatAnswer(reasoning.parser(prompt_end), None)
    outputs = [Output((5,), piece) for piece in pieces] + [Output((1,), "", finish_reason="stop")]
    fields = joined([reader.push(output) for output in outputs])
    return {**fields, "tokens": reader.reasoning_tokens}


@pytest.mark.parametrize(
    ("prompt_end", "text", "thought", "content"),
    [
        ("<｜Assistant｜><think>\n", "Hm.\n</think>\n\nYes.", "Hm.", "Yes."),
        ("<｜Assistant｜><think>", "\nHm.</think>Yes.", "Hm.", "Yes."),
        ("<｜Assistant｜><think>", "Hm.", "Hm.", ""),
        ("<｜Assistant｜><think>\n", "</think>Yes.", None, "Yes."),
        ("<｜Assistant｜>", "<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."),
        ("<｜Assistant｜>", "\n <think>Hm.</think>Yes.", "Hm.", "Yes."),
        ("<｜Assistant｜>", "Yes, <think> is a tag.", None, "Yes, <think> is a tag."),
        ("<｜Assistant｜>", "\n<th", None, "\n<th"),
        ("<think>\n\n</think>\n\n", "<think>Yes.", None, "<think>Yes."),
    ],
)
@given(data=st.data())
def test_the_end_of_the_reasoning(prompt_end, text, thought, content, data) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=9).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    got = message(prompt_end, pieces)
    assert got.get("reasoning_content") == thought
    assert got["content"] == content
    assert (got["tokens"] > 0) == bool(thought)


def test_tokens_of_reasoning_are_counted() -> None:
    pieces = ["Hm", ", ", "well", "</thi", "nk>", "\n\n", "Y", "es"]
    assert message("<think>", pieces)["tokens"] == 6


@pytest.mark.parametrize(
    ("given_", "thinking", "template", "expected"),
    [
        ({}, None, "thinking", {}),
        ({}, True, "{% if thinking %}", {"thinking": True}),
        ({}, False, "{% if enable_thinking %}", {"enable_thinking": False}),
        ({"thinking": True}, False, "enable_thinking", {"thinking": True, "enable_thinking": True}),
        ({"x": 1}, True, "nothing of the kind", {"x": 1}),
    ],
)
def test_the_switch_uses_the_name_in_the_template(given_, thinking, template, expected) -> None:
    assert reasoning.switched(given_, thinking, template) == expected
