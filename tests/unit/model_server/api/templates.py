"""Chat templates like DeepSeek's and Qwen's, reduced to the parts that matter to the API."""

_TURNS = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role == 'assistant' and message.content is none -%}
        {{- '<｜Assistant｜>' -}}
        {%- for call in message.tool_calls -%}CALL{%- endfor -%}
        {{- eos_token -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<｜Assistant｜>' + message.content + eos_token -}}
    {%- elif message.role == 'tool' -%}
        {{- '[' + message.tool_call_id + ': ' + message.content + ']' -}}
    {%- else -%}
        {{- '<｜User｜>' + message.content -}}
    {%- endif -%}
{%- endfor -%}
{%- for tool in tools or [] -%}{{- '{' + tool.function.name + '}' -}}{%- endfor -%}
END
"""
_ASSISTANT = "{{- '<｜Assistant｜>' -}}"


def _template(call: str = "", end: str = _ASSISTANT) -> str:
    return _TURNS.replace("CALL", call).replace("END", end)


PLAIN = _template()
V3 = _template(
    "{{- '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>'"
    " + call.function.name + '\\n```json\\n' + call.function.arguments"
    " + '\\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>' -}}"
)
R1 = V3.replace(_ASSISTANT + "\n", "{{- '<｜Assistant｜><think>\\n' -}}\n")
# Reasons only if requested.
V31 = _template(
    "{{- '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>'"
    " + (call.function.arguments | tojson) + '<｜tool▁call▁end｜><｜tool▁calls▁end｜>' -}}",
    "{{- '<｜Assistant｜>' + ('<think>' if thinking else '</think>') -}}",
)
# The model itself decides whether to reason.
HERMES = _template(
    "{{- '<tool_call>\\n' -}}{{- call.function | tojson -}}{{- '\\n</tool_call>' -}}",
    _ASSISTANT + "{%- if enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}"
    "{%- endif -%}",
)
V32 = _template("{{- '<｜DSML｜function_calls>' -}}", "{{- '<｜Assistant｜></think>' -}}")
