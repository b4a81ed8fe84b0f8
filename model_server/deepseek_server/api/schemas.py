"""Request bodies and the validation of their fields.

Unknown fields are rejected, and so are known fields that this server does not support yet, unless
they have a value without effect. No field is silently ignored, except those that only label a
request.
"""

import json
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from deepseek_server.api.messages import Message, NamedChoice, Tool, ToolChoice
from deepseek_server.api.strict import Strict, invalid_combination
from deepseek_server.api.structure import Structured

MAX_STOP = 4
MAX_STOP_TOKENS = 128
MAX_BIASES = 1024
MAX_TOP = 20
MAX_CHOICES = 128
SEED_MIN, SEED_MAX = -(2**63), 2**63 - 1

# Fields of OpenAI's and vLLM's APIs that are not supported yet -> their values without effect.
NOT_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "guided_grammar": (),
}
# Template variables that the server sets itself.
NOT_VARIABLES = {
    *("messages", "conversations", "tools", "chat_template", "add_generation_prompt"),
    *("continue_final_message", "return_assistant_tokens_mask"),
}


class StreamOptions(Strict):
    """Options of a stream."""

    include_usage: bool = False


class GenerationRequest(Structured):
    """The fields shared by chat and completions."""

    model: str
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    best_of: int | None = None
    max_tokens: int | None = Field(None, ge=1)
    min_tokens: int = Field(0, ge=0)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    min_p: float = Field(0, ge=0, le=1)
    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    repetition_penalty: float = Field(1, gt=0, le=10)
    logit_bias: dict[str, float] = Field({})
    seed: int | None = Field(None, ge=SEED_MIN, le=SEED_MAX)
    stop: list[str] = Field([])
    stop_token_ids: list[int] = Field([], max_length=MAX_STOP_TOKENS)
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    # Labels without effect.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None

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
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _few_and_not_empty(cls, value: list[str]) -> list[str]:
        if len(value) > MAX_STOP:
            raise ValueError(f"at most {MAX_STOP} stop strings are allowed: got {len(value)}")
        if "" in value:
            raise ValueError("a stop string must not be empty")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _of_tokens(cls, value: dict[str, float]) -> dict[str, float]:
        if len(value) > MAX_BIASES:
            raise ValueError(f"at most {MAX_BIASES} tokens are allowed: got {len(value)}")
        for token, bias in value.items():
            if not (token.isascii() and token.isdigit() and len(token) < 10):
                raise ValueError(f'keys must be token ids, as in {{"50": -100}}: got {token!r}')
            if not -100 <= bias <= 100:
                raise ValueError(f"a bias must be from -100 to 100: got {bias} for token {token}")
        return value

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise invalid_combination("stream_options", "only allowed with stream set to true")
        if self.best_of not in (None, self.n):
            raise invalid_combination("best_of", f"must equal n, which is {self.n}")
        self.grammar()
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk of token usage."""
        return self.stream_options is not None and self.stream_options.include_usage


def _unsupported(name: str) -> dict[str, Any]:
    values = " or ".join(json.dumps(value) for value in NOT_SUPPORTED[name][:1])
    remedy = f"leave it out or set it to {values}" if values else "leave it out"
    return {"text": f"{name} is not supported by this server yet: {remedy}", "param": name}


class Conversation(Strict):
    """The fields that the chat template turns into a prompt."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] = Field([])
    chat_template_kwargs: dict[str, Any] = Field({})

    @field_validator("chat_template_kwargs")
    @classmethod
    def _not_of_the_server(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in NOT_VARIABLES:
                raise ValueError(f"{name} is set by the server: leave it out")
        return value


class ChatRequest(Conversation, GenerationRequest):
    """The body of POST /v1/chat/completions."""

    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _one_of_two_kinds(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in ("none", "auto", "required"):
                raise ValueError('must be "none", "auto", "required" or a function')
            return value
        return NamedChoice.model_validate(value)

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise invalid_combination("tools", "function names must be unique")
        if self.top_logprobs is not None and not self.logprobs:
            raise invalid_combination("top_logprobs", "only allowed with logprobs set to true")
        if self.must_call:
            if not names:
                raise invalid_combination("tool_choice", "a call is required, but tools is empty")
            if self.grammar():
                raise invalid_combination(
                    "tool_choice", "a required call cannot be combined with a response format"
                )
        if (
            isinstance(self.tool_choice, NamedChoice)
            and self.tool_choice.function.name not in names
        ):
            wanted = self.tool_choice.function.name
            raise invalid_combination("tool_choice", f"tools has no function {wanted!r}")
        return self

    @property
    def limit(self) -> int | None:
        """Maximum number of tokens to generate, from the newer field or the older one."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def must_call(self) -> bool:
        """Whether the answer has to be a tool call."""
        return self.tool_choice not in (None, "none", "auto")

    @property
    def alternatives(self) -> int | None:
        """Number of alternative log probabilities per token, as `logprobs` in Sampling."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions; the prompt is text or token ids, or a list of these."""

    prompt: list[str | list[int]]
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP)
    echo: bool = False

    @field_validator("prompt", mode="before")
    @classmethod
    def _as_several(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, list) and not _all(value, str, list)):
            value = [value]
        if not isinstance(value, list) or not all(map(_is_prompt, value)):
            raise ValueError("must be a string, a list of token ids, or a list of these")
        return value or [[]]

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if len(self.prompt) * self.n > MAX_CHOICES:
            text = f"{len(self.prompt)} prompts with n {self.n}"
            raise invalid_combination("prompt", f"{text} exceed the limit of {MAX_CHOICES} choices")
        if self.echo and self.logprobs is not None:
            raise invalid_combination("echo", "cannot be combined with logprobs")
        return self


def _all(values: list[Any], *kinds: type) -> bool:
    return all(isinstance(value, kinds) for value in values)


def _is_prompt(value: Any) -> bool:
    # isinstance takes a bool for an int.
    return isinstance(value, str) or (
        isinstance(value, list) and all(type(token) is int for token in value)
    )
