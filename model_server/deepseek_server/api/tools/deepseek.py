"""Common parts of the formats of DeepSeek-V3, R1 and V3.1: a list of calls between markers."""

from collections.abc import Callable

from deepseek_server.api.markup import Reading, Source, Text

CALLS_BEGIN, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL_BEGIN, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
SEPARATOR = "<｜tool▁sep｜>"


def read(source: Source, read_call: Callable[[Source], Reading[None]]) -> Reading[None]:
    """Read an answer; `read_call` reads each call up to the end of its arguments."""
    while True:
        marker = yield from source.upto(Text, CALLS_BEGIN, CALL_BEGIN, text_may_end=True)
        if marker == CALLS_BEGIN:
            _, marker = yield from source.whole(CALL_BEGIN, CALLS_END)
        while marker == CALL_BEGIN:
            yield from read_call(source)
            _, marker = yield from source.whole(CALL_BEGIN, CALLS_END)
        if not marker:
            return
