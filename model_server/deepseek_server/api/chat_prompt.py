"""Conversion of a conversation into a prompt and a parser of the answer."""

import asyncio
import json
from dataclasses import dataclass

from deepseek_server.api import reasoning
from deepseek_server.api.chat_parser import ChatAnswer
from deepseek_server.api.errors import invalid
from deepseek_server.api.markup import Parser
from deepseek_server.api.messages import NamedChoice
from deepseek_server.api.sampling import check_grammar
from deepseek_server.api.schemas import ChatRequest, Conversation
from deepseek_server.api.tools.choice import format_of
from deepseek_server.api.tools.format import Format
from deepseek_server.server.served_model import ServedModel

# Enough for a marker that is not a single token, and white space after it.
END_TOKENS = 16


@dataclass(frozen=True)
class Plan:
    """The engine's input for a conversation, and how to parse the answer.

    Attributes:
        prompt: the tokens to continue.
        grammar: as in Sampling.
        stop: stop strings in addition to those of the request.
        reasons: whether reasoning may come before the answer.
        prompt_end: the last characters of the conversation.
        tools: the format of tool calls, if the model may make any.
        opening: the start of a tool call that was appended to the conversation.
    """

    prompt: list[int]
    grammar: str
    stop: tuple[str, ...]
    reasons: bool
    prompt_end: str
    tools: Format | None
    opening: str

    def answer(self) -> ChatAnswer:
        """Return a parser of one answer."""
        return ChatAnswer(
            reasoning.parser(self.prompt_end) if self.reasons else None,
            None if self.tools is None else Parser(self.tools.read),
            self.opening,
        )


async def plan(body: ChatRequest, served: ServedModel) -> Plan:
    """Return the plan for a conversation.

    Raises:
        APIError: 400 if the model does not support the request.
    """
    tools = _tools(body, served)
    called = _called(body)
    opening = tools.opening(called) if tools and body.must_call else ""
    grammar = body.grammar()
    if opening and called is not None and tools and tools.json_arguments:
        grammar = _arguments_grammar(body, called)
    await check_grammar(grammar, served, "tools" if opening else "response_format")

    plain = bool(grammar or opening)
    thinking = None if body.reasoning_effort is None else body.reasoning_effort != "none"
    if thinking is None and plain:
        thinking = False
    prompt = await encode(body, served, thinking=thinking, with_tools=tools is not None)
    prompt_end = served.codec.decode(prompt[-END_TOKENS:])
    if plain and reasoning.is_open(prompt_end):
        field = "tool_choice" if opening else "response_format"
        raise invalid(
            f"{field}: {served.name} starts its answers with reasoning, which no format can "
            "constrain: switch reasoning off with reasoning_effort none if the model supports it, "
            "or request an unconstrained answer",
            param=field,
            code="invalid_value",
        )
    if opening:
        prompt += served.codec.encode(opening, bare=True)
    only_one = tools is not None and not body.parallel_tool_calls
    return Plan(
        prompt,
        grammar,
        stop=(tools.call_end,) if tools and only_one else (),
        reasons=not plain and reasoning.is_expected(served),
        prompt_end=prompt_end,
        tools=tools,
        opening=opening,
    )


async def encode(
    body: Conversation,
    served: ServedModel,
    *,
    thinking: bool | None = None,
    with_tools: bool = True,
) -> list[int]:
    """Return the prompt tokens of a conversation.

    Args:
        body: the conversation.
        served: the model.
        thinking: whether to reason; None leaves it to the template.
        with_tools: whether the template gets the tools.

    Raises:
        APIError: 400 if the model has no chat template or the template rejects the messages.
    """
    if not served.codec.has_chat_template:
        raise invalid(
            f"{served.name} has no chat template: use /v1/completions",
            param="messages",
            code="no_chat_template",
        )
    messages = [message.for_template() for message in body.messages]
    tools = [tool.model_dump(exclude_none=True) for tool in body.tools] if with_tools else []
    variables = reasoning.switched(body.chat_template_kwargs, thinking, served.codec.chat_template)
    try:
        return await asyncio.to_thread(served.codec.encode_chat, messages, tools, variables)
    except ValueError as error:
        raise invalid(
            f"the chat template of the model rejects these messages: {error}",
            param="messages",
            code="invalid_value",
        ) from error


def _tools(body: ChatRequest, served: ServedModel) -> Format | None:
    """Return the format of tool calls, if the model may make any."""
    if not body.tools or body.tool_choice == "none":
        return None
    tools = format_of(served)
    if tools is None:
        raise invalid(
            f"tools: the chat template of {served.name} has no known tool call format: leave tools "
            "out, or set model.toolFormat in the server's configuration",
            param="tools",
            code="unsupported_parameter",
        )
    return tools


def _called(body: ChatRequest) -> str | None:
    """Return the function that must be called, if it is known."""
    if isinstance(body.tool_choice, NamedChoice):
        return body.tool_choice.function.name
    if body.tool_choice == "required" and len(body.tools) == 1:
        return body.tools[0].function.name
    return None


def _arguments_grammar(body: ChatRequest, name: str) -> str:
    """Return the grammar that constrains the arguments of a function to its schema."""
    function = next(tool.function for tool in body.tools if tool.function.name == name)
    return json.dumps({"json_schema": {"type": "object", **function.parameters}})
