"""The turns of a conversation, and the functions that a model may call in it."""

from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from deepseek_server.api.strict import Strict

FUNCTION_NAME = r"^[a-zA-Z0-9_.-]{1,64}$"


class TextPart(Strict):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: str


class FunctionCall(Strict):
    """What a model wants to call; the arguments are JSON text."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A call within a turn of the assistant; `index` is left over from a stream."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class Message(Strict):
    """One turn of a conversation; parts of text are joined.

    The fields of the last line are in the answers of OpenAI's API, which clients send back whole.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    tool_calls: list[ToolCall] = Field([])
    content: str | None = Field(None, validate_default=True)
    name: str | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] = Field([], max_length=0)

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return "".join(TextPart.model_validate(part).text for part in value)

    @field_validator("content")
    @classmethod
    def _not_missing(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("role") != "assistant":
            raise ValueError("give a text, or a list of parts of type text")
        return value

    @field_validator("tool_calls")
    @classmethod
    def _by_the_assistant(cls, value: list[ToolCall], info: ValidationInfo) -> list[ToolCall]:
        if value and info.data.get("role") != "assistant":
            raise ValueError("only messages of the role assistant have tool calls")
        return value

    def for_template(self) -> dict[str, Any]:
        """As chat templates expect it; `developer` is the newer word for `system`."""
        turn: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            # DeepSeek's templates tell a turn of calls by a content that is none.
            "content": self.content or (None if self.tool_calls else ""),
        }
        if self.tool_calls:
            turn["tool_calls"] = [
                call.model_dump(exclude={"index"}, exclude_none=True) for call in self.tool_calls
            ]
        for field in ("name", "tool_call_id", "reasoning_content"):
            if value := getattr(self, field):
                turn[field] = value
        return turn


class Function(Strict):
    """A function that a model may call; the parameters are a JSON schema."""

    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: dict[str, Any] = Field({})
    strict: bool | None = None


class Tool(Strict):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    """The name of a function in a choice."""

    name: str


class NamedChoice(Strict):
    """The wish for a call of one function."""

    type: Literal["function"]
    function: FunctionName


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedChoice
