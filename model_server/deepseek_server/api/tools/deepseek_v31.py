"""DeepSeek-V3.1: `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>` for every call.

As in the chat template of deepseek-ai/DeepSeek-V3.1.
"""

from functools import partial

from deepseek_server.api.markup import Arguments, Call, Reading, Source
from deepseek_server.api.tools import deepseek
from deepseek_server.api.tools.deepseek import CALL_BEGIN, CALL_END, CALLS_BEGIN, SEPARATOR
from deepseek_server.api.tools.format import Format


def _read_call(source: Source) -> Reading[None]:
    name, marker = yield from source.whole(SEPARATOR)
    if not marker:
        return
    yield Call(name.strip())
    yield from source.upto(Arguments, CALL_END)


def _opening(name: str | None) -> str:
    rest = "" if name is None else name + SEPARATOR
    return f"{CALLS_BEGIN}{CALL_BEGIN}{rest}"


FORMAT = Format(partial(deepseek.read, read_call=_read_call), _opening, CALL_END)
