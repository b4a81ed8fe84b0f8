"""Selection of the tool call format of a model."""

from deepseek_server.api.tools import deepseek, deepseek_v3, deepseek_v31, deepseek_v32, hermes
from deepseek_server.api.tools.format import Format
from deepseek_server.server.served_model import ServedModel

FORMATS = {
    "deepseek-v3": deepseek_v3.FORMAT,
    "deepseek-v3.1": deepseek_v31.FORMAT,
    "deepseek-v3.2": deepseek_v32.FORMAT,
    "hermes": hermes.FORMAT,
}


def format_of(served: ServedModel) -> Format | None:
    """Return the configured format, or that of the chat template; None if the model has none."""
    name = served.tool_format
    return FORMATS.get(_in_template(served.codec.chat_template) if name == "auto" else name)


def _in_template(template: str) -> str:
    """Return the format whose markers a chat template contains."""
    if deepseek_v32.PREFIX in template:
        return "deepseek-v3.2"
    if deepseek.CALL_BEGIN in template:
        return "deepseek-v3" if deepseek_v3.FENCE in template else "deepseek-v3.1"
    return "hermes" if hermes.BEGIN in template else "none"
