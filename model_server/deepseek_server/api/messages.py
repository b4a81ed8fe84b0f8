"""Messages of a conversation, and the functions that the model may call."""

from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from deepseek_server.api.strict import Strict

FUNCTION_NAME = r"^[a-zA-Z0-9_.-]{1,64}$"


class TextPart(Strict):
    """A content part of a message; only text is supported."""

    type: Literal["text"]
    text: str


class FunctionCall(Strict):
    """A function call by the model; the arguments are JSON text."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A tool call in an assistant message; `index` remains from a stream."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class Message(Strict):
    """One message of a conversation; text parts are joined.

    The last fields are in responses of OpenAI's API, which clients send back unchanged.
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
            raise ValueError("must be a string or a list of parts of type text")
        return value

    @field_validator("tool_calls")
    @classmethod
    def _by_the_assistant(cls, value: list[ToolCall], info: ValidationInfo) -> list[ToolCall]:
        if value and info.data.get("role") != "assistant":
            raise ValueError("only messages with role assistant can have tool calls")
        return value

    def for_template(self) -> dict[str, Any]:
        """Return the message for a chat template; `developer` is the newer name of `system`."""
        turn: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            # DeepSeek's templates recognize a message with tool calls by its content of None.
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
    """A tool; only functions are supported."""

    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    """The function name in a tool choice."""

    name: str


class NamedChoice(Strict):
    """A tool choice that requires a call of one function."""

    type: Literal["function"]
    function: FunctionName


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedChoice
