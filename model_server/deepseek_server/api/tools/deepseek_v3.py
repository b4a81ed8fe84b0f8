"""DeepSeek-V3 and R1: the name and a fenced block of JSON for every call.

    <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME
    ```json
    {"a": 1}
    ```<｜tool▁call▁end｜>

As in the chat template of deepseek-ai/DeepSeek-V3 and deepseek-ai/DeepSeek-R1.
"""

from functools import partial

from deepseek_server.api.markup import Arguments, Call, Reading, Source
from deepseek_server.api.tools import deepseek
from deepseek_server.api.tools.deepseek import CALL_BEGIN, CALL_END, CALLS_BEGIN, SEPARATOR
from deepseek_server.api.tools.format import Format

FENCE, FENCE_END = "```json", "\n```"


def _read_call(source: Source) -> Reading[None]:
    head, marker = yield from source.whole(FENCE)
    if not marker:
        return
    yield Call(head.rpartition(SEPARATOR)[2].strip())
    yield from source.skip("\n")
    # A fence inside the arguments is within quotes, where JSON has no line breaks.
    yield from source.upto(Arguments, FENCE_END, "```" + CALL_END, CALL_END)


def _opening(name: str | None) -> str:
    rest = "" if name is None else f"{name}\n{FENCE}\n"
    return f"{CALLS_BEGIN}{CALL_BEGIN}function{SEPARATOR}{rest}"


FORMAT = Format(partial(deepseek.read, read_call=_read_call), _opening, CALL_END)
