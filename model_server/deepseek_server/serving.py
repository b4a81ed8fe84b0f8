"""What the API needs to know of the model that it serves."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from deepseek_server.engine.interface import Engine


class Codec(Protocol):
    """Between text and token ids."""

    @property
    def has_chat_template(self) -> bool:
        """Whether `encode_chat` can work."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a plain prompt.

        Raises:
            ValueError: the text cannot be encoded; says why.
        """

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of a conversation, up to where the assistant speaks next.

        Raises:
            ValueError: the model's template does not take this conversation; says why.
        """


@dataclass(frozen=True)
class SamplingDefaults:
    """What the model's authors recommend where a request says nothing."""

    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class ServedModel:
    """A model that takes requests."""

    name: str
    engine: Engine
    codec: Codec
    vocabulary: int
    defaults: SamplingDefaults = SamplingDefaults()
    created: int = field(default_factory=lambda: int(time.time()))
