"""Reasoning before an answer, as R1 and related models write it: `<think> ... </think>`.

Some chat templates end with `<think>`, so that the answer starts inside the reasoning. With others
the model writes the tag itself, or not at all. A template that ends with `</think>` has switched
reasoning off.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from deepseek_server.api.markup import Parser, Reading, Source, Text, Thought
from deepseek_server.server.served_model import ServedModel

BEGIN, END = "<think>", "</think>"
# Names that templates have for the variable that switches reasoning on or off.
SWITCHES = ("thinking", "enable_thinking")


def is_expected(served: ServedModel) -> bool:
    """Return whether answers are parsed for reasoning."""
    if served.reasoning == "auto":
        # Some templates only remove the reasoning from earlier messages.
        return BEGIN in served.codec.chat_template or END in served.codec.chat_template
    return served.reasoning == "on"


def parser(prompt_end: str) -> Parser | None:
    """Return the parser that separates the reasoning from an answer.

    Args:
        prompt_end: the last characters of the prompt.

    Returns:
        None if the prompt has already closed the reasoning.
    """
    prompt_end = prompt_end.rstrip()
    if prompt_end.endswith(END):
        return None
    return Parser(partial(_read, inside=is_open(prompt_end)))


def is_open(prompt_end: str) -> bool:
    """Return whether the prompt ends inside the reasoning."""
    return prompt_end.rstrip().endswith(BEGIN)


def switched(variables: Mapping[str, Any], thinking: bool | None, template: str) -> dict[str, Any]:
    """Return the variables for a chat template, with reasoning switched by the name that it uses.

    Args:
        variables: the client's variables; they take precedence over `thinking`.
        thinking: whether to reason; None leaves it to the template.
        template: the template's source.
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
