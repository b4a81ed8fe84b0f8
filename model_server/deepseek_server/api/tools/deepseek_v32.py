"""DeepSeek-V3.2: tags with the model's own prefix, and a tag for every argument.

    <｜DSML｜function_calls>
    <｜DSML｜invoke name="NAME">
    <｜DSML｜parameter name="a" string="false">1</｜DSML｜parameter>
    </｜DSML｜invoke>
    </｜DSML｜function_calls>

As in the `encoding` folder of deepseek-ai/DeepSeek-V3.2, which has no chat template. An argument
whose tag marks it as a string is written verbatim; any other is JSON.
"""

import json

from deepseek_server.api.markup import Arguments, Call, Reading, Source, Text
from deepseek_server.api.tools.format import Format

PREFIX = "｜DSML｜"
CALLS, CALLS_END = f"<{PREFIX}function_calls>", f"</{PREFIX}function_calls>"
INVOKE, INVOKE_END = f'<{PREFIX}invoke name="', f"</{PREFIX}invoke>"
PARAMETER, PARAMETER_END = f'<{PREFIX}parameter name="', f"</{PREFIX}parameter>"


def _read(source: Source) -> Reading[None]:
    while (yield from source.upto(Text, "\n\n" + CALLS, CALLS, text_may_end=True)):
        while True:
            _, marker = yield from source.whole(INVOKE, CALLS_END)
            if marker != INVOKE:
                break
            name, marker = yield from source.whole('">')
            if marker:
                yield Call(name)
                yield from _read_arguments(source)


def _read_arguments(source: Source) -> Reading[None]:
    before = "{"
    while True:
        _, marker = yield from source.whole(PARAMETER, INVOKE_END)
        if marker != PARAMETER:
            break
        name, _ = yield from source.whole('" string="')
        kind, marker = yield from source.whole('">')
        if not marker:
            return
        yield Arguments(f"{before}{json.dumps(name, ensure_ascii=False)}: ")
        if kind == "true":
            yield Arguments('"')
            yield from source.upto(_inside_quotes, PARAMETER_END)
            yield Arguments('"')
        else:
            yield from source.upto(Arguments, PARAMETER_END)
        before = ", "
    yield Arguments("{}" if before == "{" else "}")


def _inside_quotes(text: str) -> Arguments:
    return Arguments(json.dumps(text, ensure_ascii=False)[1:-1])


def _opening(name: str | None) -> str:
    return f"{CALLS}\n{INVOKE}" if name is None else f'{CALLS}\n{INVOKE}{name}">\n'


FORMAT = Format(_read, _opening, INVOKE_END, json_arguments=False)
