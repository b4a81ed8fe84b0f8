"""Description of a tool call format."""

from collections.abc import Callable
from dataclasses import dataclass

from deepseek_server.api.markup import Reading, Source


@dataclass(frozen=True)
class Format:
    """A format in which a model writes tool calls into its answer.

    Attributes:
        read: reads an answer and yields Text, Call and Arguments.
        opening: returns the start of an answer that consists of a call: up to the arguments of the
            named function, or up to the function's name if none is given.
        call_end: the text that completes a call.
        json_arguments: whether the arguments are JSON, so that a schema can constrain them.
    """

    read: Callable[[Source], Reading[None]]
    opening: Callable[[str | None], str]
    call_end: str
    json_arguments: bool = True
