"""Reasoning before an answer: how R1 and its relatives write it, `<think> ... </think>`.

Some chat templates end with `<think>`, so that the answer starts inside; with others the model
writes it itself, or not at all; a template that ends with `</think>` has switched it off.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from deepseek_server.api.markup import Parser, Reading, Source, Text, Thought
from deepseek_server.server.served_model import ServedModel

BEGIN, END = "<think>", "</think>"
# What templates call the variable that switches reasoning on or off.
SWITCHES = ("thinking", "enable_thinking")


def is_expected(served: ServedModel) -> bool:
    """Whether answers are searched for reasoning."""
    if served.reasoning == "auto":
        # Some templates only take the reasoning out of earlier turns.
        return BEGIN in served.codec.chat_template or END in served.codec.chat_template
    return served.reasoning == "on"


def parser(prompt_end: str) -> Parser | None:
    """What takes the reasoning out of an answer.

    Args:
        prompt_end: the last characters of the prompt.

    Returns:
        None where the prompt leaves no place for reasoning.
    """
    prompt_end = prompt_end.rstrip()
    if prompt_end.endswith(END):
        return None
    return Parser(partial(_read, inside=is_open(prompt_end)))


def is_open(prompt_end: str) -> bool:
    """Whether the prompt ends inside of reasoning."""
    return prompt_end.rstrip().endswith(BEGIN)


def switched(variables: Mapping[str, Any], thinking: bool | None, template: str) -> dict[str, Any]:
    """The variables for a chat template, with reasoning on or off by whichever name it knows.

    Args:
        variables: what the client gives; wins over `thinking`.
        thinking: whether to reason; None leaves it to the template.
        template: its source.
    """
    given = dict(variables)
    thinking = next((given[name] for name in SWITCHES if name in given), thinking)
    if thinking is not None:
        for name in SWITCHES:
            if re.search(rf"\b{name}\b", template):
                given.setdefault(name, thinking)
    return given


def _read(source: Source, *, inside: bool) -> Reading[None]:
    inside = inside or (yield from source.opens(BEGIN))
    if inside:
        yield from source.skip("\n")
        yield from source.upto(Thought, "\n" + END, END)
        yield from source.skip("\n")
    yield from source.upto(Text, text_may_end=True)
