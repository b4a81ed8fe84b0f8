"""What a format of tool calls has to say."""

from collections.abc import Callable
from dataclasses import dataclass

from deepseek_server.api.markup import Reading, Source


@dataclass(frozen=True)
class Format:
    """A way in which a model writes tool calls into its answer.

    Attributes:
        read: reads an answer; gives Text, Call and Arguments.
        opening: the text with which an answer that consists of a call begins, up to where the
            arguments of the named function start, or its name if none is given.
        call_end: the text after which a call is complete.
        json_arguments: whether the arguments are written as JSON, and so can be held to a schema.
    """

    read: Callable[[Source], Reading[None]]
    opening: Callable[[str | None], str]
    call_end: str
    json_arguments: bool = True
