"""Chat answers, split into reasoning, content and tool calls."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseek_server.api.markup import Arguments, Call, Parser, Piece, Text, Thought
from deepseek_server.engine.types import Output


@dataclass(slots=True)
class Delta:
    """The new parts of an answer.

    Attributes:
        calls: tool call deltas, as in OpenAI's API.
    """

    reasoning: str = ""
    content: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return the parts that are not empty."""
        parts = {
            "reasoning_content": self.reasoning,
            "content": self.content,
            "tool_calls": self.calls,
        }
        return {name: part for name, part in parts.items() if part}


class ChatAnswer:
    """Incremental splitter of one answer.

    Args:
        reasoning: parses the reasoning before the answer; None if there is none.
        tools: parses the tool calls; None if there are none.
        opening: the start of a tool call that ends the prompt.

    Attributes:
        reasoning_tokens: number of tokens spent on reasoning.
    """

    def __init__(self, reasoning: Parser | None, tools: Parser | None, opening: str = "") -> None:
        self._reasoning, self._tools = reasoning, tools
        self._thinks = False
        self._calls = 0
        self.reasoning_tokens = 0
        self._opened = [] if tools is None else tools.push(opening)

    def push(self, output: Output) -> Delta:
        """Return what an output adds."""
        delta = Delta()
        pieces, self._opened = self._opened, []
        pieces += self._pieces(output)
        for piece in pieces:
            self._add(piece, delta)
        return delta

    def reason(self, output: Output) -> str | None:
        """Return the finish reason if an output ends the answer."""
        return (
            "tool_calls" if output.finish_reason == "stop" and self._calls else output.finish_reason
        )

    def _pieces(self, output: Output) -> list[Piece]:
        ended = output.finish_reason is not None
        if self._reasoning is None:
            pieces: list[Piece] = [Text(output.text)] if output.text else []
        else:
            pieces = _read(self._reasoning, output.text, ended=ended)
            self._thinks = any(isinstance(piece, Thought) for piece in pieces) or (
                self._thinks and not pieces
            )
            if self._thinks:
                self.reasoning_tokens += len(output.token_ids)
        if self._tools is None:
            return pieces
        content = "".join(piece.text for piece in pieces if isinstance(piece, Text))
        thoughts: list[Piece] = [piece for piece in pieces if isinstance(piece, Thought)]
        return thoughts + _read(self._tools, content, ended=ended)

    def _add(self, piece: Piece, delta: Delta) -> None:
        match piece:
            case Thought(text):
                delta.reasoning += text
            case Text(text):
                delta.content += text
            case Call(name):
                delta.calls.append(
                    {
                        "index": self._calls,
                        "id": f"call_{uuid.uuid4().hex[:24]}",
                        "type": "function",
                        "function": {"name": name, "arguments": ""},
                    }
                )
                self._calls += 1
            case Arguments(text):
                if not delta.calls:
                    delta.calls.append({"index": self._calls - 1, "function": {"arguments": ""}})
                delta.calls[-1]["function"]["arguments"] += text


def _read(parser: Parser, text: str, *, ended: bool) -> list[Piece]:
    pieces = parser.push(text) if text else []
    return pieces + parser.finish() if ended else pieces


def joined(deltas: Sequence[Delta]) -> dict[str, Any]:
    """Return the complete message from all deltas of an answer."""
    reasoning = "".join(delta.reasoning for delta in deltas)
    content = "".join(delta.content for delta in deltas)
    calls: list[dict[str, Any]] = []
    for piece in (piece for delta in deltas for piece in delta.calls):
        if "id" in piece:
            function = dict(piece["function"])
            calls.append({"id": piece["id"], "type": "function", "function": function})
        else:
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    return {
        "role": "assistant",
        "content": content or (None if calls else ""),
        **({"reasoning_content": reasoning} if reasoning else {}),
        **({"tool_calls": calls} if calls else {}),
    }
