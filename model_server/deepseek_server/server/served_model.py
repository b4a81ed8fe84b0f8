"""What the API needs to know of the model that it serves."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deepseek_server.config import Reasoning, ToolFormat
from deepseek_server.engine.types import Engine


class Codec(Protocol):
    """Between text and token ids."""

    @property
    def has_chat_template(self) -> bool:
        """Whether `encode_chat` can work."""

    @property
    def chat_template(self) -> str:
        """The source of the chat template, by which one knows how the model writes; may be empty."""

    def encode(self, text: str, *, bare: bool = False) -> list[int]:
        """The tokens of a plain prompt.

        Args:
            text: the prompt.
            bare: without the tokens that the tokenizer puts around a prompt.

        Raises:
            ValueError: the text cannot be encoded; says why.
        """

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The tokens of a conversation, up to where the assistant speaks next.

        Args:
            messages: the turns as chat templates expect them.
            tools: the functions that the model may call, as in OpenAI's API.
            variables: more for the template; what it does not know has no effect.

        Raises:
            ValueError: the model's template does not take this conversation; says why.
        """

    def decode(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens.

        Args:
            token_ids: the tokens.
            special: with special tokens. Without, only those of them remain that give an answer
                its structure: the markers of reasoning and of tool calls.
        """

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for, which may be a part of a character; empty for unused ids."""

    def is_hidden(self, token_id: int) -> bool:
        """Whether `decode` leaves the token out."""


def accept_grammar(_: str) -> str | None:
    """Find nothing wrong with any grammar."""
    return None


@dataclass(frozen=True)
class SamplingDefaults:
    """What the model's authors recommend where a request says nothing."""

    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class ServedModel:
    """A model that takes requests.

    Attributes:
        vocabulary: how many tokens there are; ids are below that.
        tool_format: how the model writes tool calls; `auto` is read from its chat template.
        reasoning: whether it reasons before it answers; `auto` is read from its chat template.
        check_grammar: takes a grammar as in Sampling and says what is wrong with it, in a
            sentence; None where nothing is. May take a while, so call it in a thread.
    """

    name: str
    engine: Engine
    codec: Codec
    vocabulary: int
    defaults: SamplingDefaults = SamplingDefaults()
    tool_format: ToolFormat = "auto"
    reasoning: Reasoning = "auto"
    check_grammar: Callable[[str], str | None] = accept_grammar
    created: int = field(default_factory=lambda: int(time.time()))
