"""The served model, as the API sees it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deepseek_server.config import Reasoning, ToolFormat
from deepseek_server.engine.types import Engine


class Codec(Protocol):
    """A tokenizer: converts between text and token ids."""

    @property
    def has_chat_template(self) -> bool:
        """Whether the model has a chat template, which `encode_chat` needs."""

    @property
    def chat_template(self) -> str:
        """The source of the chat template, which shows the model's formats; may be empty."""

    def encode(self, text: str, *, bare: bool = False) -> list[int]:
        """Return the tokens of a plain prompt.

        Args:
            text: the prompt.
            bare: whether to omit the special tokens that the tokenizer adds around a prompt.

        Raises:
            ValueError: the text cannot be encoded; the message states why.
        """

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Return the tokens of a conversation, up to the start of the assistant's next message.

        Args:
            messages: the messages as chat templates expect them.
            tools: the functions that the model may call, as in OpenAI's API.
            variables: additional template variables; unknown ones have no effect.

        Raises:
            ValueError: the template rejects this conversation; the message states why.
        """

    def decode(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text of tokens.

        Args:
            token_ids: the tokens.
            special: whether to keep all special tokens. If not, only those that structure an answer
                remain: the markers of reasoning and of tool calls.
        """

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of a token, maybe a part of a character; empty for unused ids."""

    def is_hidden(self, token_id: int) -> bool:
        """Return whether `decode` omits the token."""


def accept_grammar(_: str) -> str | None:
    """Accept any grammar."""
    return None


@dataclass(frozen=True)
class SamplingDefaults:
    """The model authors' defaults for fields that a request leaves out."""

    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class ServedModel:
    """A model that is ready to serve requests.

    Attributes:
        vocabulary: number of tokens; ids are below it.
        tool_format: the format of tool calls; `auto` detects it in the chat template.
        reasoning: whether the model reasons before it answers; `auto` detects it in the chat template.
        check_grammar: validates a grammar as in Sampling and returns the problem as a sentence, or
            None if it is valid. Slow, so call it in a thread.
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
