"""The requests that clients send, and the rules for their fields.

Unknown fields are refused, and so are known ones that this server does not support yet, unless
they have the value that asks for nothing: a field is never silently ignored.
"""

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

MAX_STOP = 4
SEED_MIN, SEED_MAX = -(2**63), 2**63 - 1

# Fields of OpenAI's API that are not supported yet -> their values that ask for nothing.
NOT_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "repetition_penalty": (1, 1.0),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "top_k": (0, -1),
    "min_p": (0, 0.0),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "web_search_options": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
}


class Strict(BaseModel):
    """No conversions between types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(Strict):
    """What else a stream carries."""

    include_usage: bool = False


class GenerationRequest(Strict):
    """What chat and completions have in common."""

    model: str
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=SEED_MIN, le=SEED_MAX)
    stop: list[str] = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    ignore_eos: bool = False
    min_tokens: int = Field(0, ge=0)
    return_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name in NOT_SUPPORTED.keys() & data.keys():
            neutral = (None, *NOT_SUPPORTED[name])
            # Compared as JSON: in Python, False equals 0 and True equals 1.
            if json.dumps(data[name]) not in map(json.dumps, neutral):
                raise PydanticCustomError("unsupported_parameter", "{text}", _unsupported(name))
        return {name: value for name, value in data.items() if name not in NOT_SUPPORTED}

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [] if value is None else [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _few_and_not_empty(cls, value: list[str]) -> list[str]:
        if len(value) > MAX_STOP:
            raise ValueError(f"at most {MAX_STOP} stop texts, these are {len(value)}")
        if "" in value:
            raise ValueError("a stop text must not be empty")
        return value

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.stream_options is not None and not self.stream:
            text = "stream_options: only with stream set to true"
            raise PydanticCustomError(
                "invalid_combination", "{text}", {"text": text, "param": "stream_options"}
            )
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


def _unsupported(name: str) -> dict[str, Any]:
    values = " or ".join(json.dumps(value) for value in NOT_SUPPORTED[name][:1])
    remedy = f"leave it out or set it to {values}" if values else "leave it out"
    return {"text": f"{name} is not supported by this server yet: {remedy}", "param": name}


class TextPart(Strict):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One turn of a conversation; parts of text are joined."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return "".join(TextPart.model_validate(part).text for part in value)

    def for_template(self) -> dict[str, str]:
        """As chat templates expect it; `developer` is the newer word for `system`."""
        role = "system" if self.role == "developer" else self.role
        named = {"name": self.name} if self.name else {}
        return {"role": role, "content": self.content, **named}


class ChatRequest(GenerationRequest):
    """The body of POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)

    @property
    def limit(self) -> int | None:
        """Tokens to generate at most, by the newer name or the older."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions; the prompt is text or token ids, or a list of one."""

    prompt: str | list[int]

    @field_validator("prompt", mode="before")
    @classmethod
    def _single(cls, value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], str | list):
            if len(value) > 1:
                raise ValueError(f"one prompt per request, these are {len(value)}")
            value = value[0]
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(type(token) is int for token in value):
            return value
        raise ValueError("give a text, a list of token ids, or a list with one of these")
