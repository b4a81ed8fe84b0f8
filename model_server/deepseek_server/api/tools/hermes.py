"""Format of Qwen and of the Hermes models before it: `<tool_call>{JSON}</tool_call>` for every call.

The JSON has a `name` and `arguments`. As in the chat templates of Qwen2.5 and Qwen3.
"""

import json
import re

from deepseek_server.api.markup import Arguments, Call, Reading, Source, Text
from deepseek_server.api.tools.format import Format

BEGIN, END = "<tool_call>", "</tool_call>"
# In the usual order the arguments can be streamed.
HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=[{\[])'
)


def _read(source: Source) -> Reading[None]:
    while (yield from source.upto(Text, "\n" + BEGIN, BEGIN, text_may_end=True)):
        head = yield from source.match(HEAD, unless=END)
        if head:
            yield Call(head[1])
            yield from source.json_value(Arguments)
            yield from source.whole(END)
        else:
            body, marker = yield from source.whole(END)
            yield from _whole_call(body, marker)
        yield from source.skip("\n")


def _whole_call(body: str, marker: str) -> Reading[None]:
    """Yield a call with its fields in another order, or text that only looks like a call."""
    try:
        call = json.loads(body)
        name, arguments = call["name"], call.get("arguments", call.get("parameters", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        name = None
    if isinstance(name, str):
        yield Call(name)
        yield Arguments(json.dumps(arguments, ensure_ascii=False))
    elif marker:
        yield Text(BEGIN + body + END)


def _opening(name: str | None) -> str:
    return f"{BEGIN}\n" if name is None else f'{BEGIN}\n{{"name": "{name}", "arguments": '


FORMAT = Format(_read, _opening, END)
