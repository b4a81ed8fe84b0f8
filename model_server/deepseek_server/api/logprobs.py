"""Log probabilities in the formats of OpenAI's chat and completions APIs."""

import codecs
from typing import Any

from deepseek_server.engine.types import Output
from deepseek_server.server.served_model import Codec

# JSON has no infinity; OpenAI's API uses this value for very unlikely tokens.
LEAST = -9999.0


def chat_logprobs(output: Output, codec: Codec) -> list[dict[str, Any]]:
    """Return the entries of `logprobs.content` for the tokens of an output."""
    return [
        {
            **_entry(token_id, logprobs.chosen, codec),
            "top_logprobs": [_entry(other, value, codec) for other, value in logprobs.top],
        }
        for token_id, logprobs in zip(output.token_ids, output.logprobs, strict=False)
    ]


def _entry(token_id: int, value: float, codec: Codec) -> dict[str, Any]:
    token = codec.token_bytes(token_id)
    return {"token": _name(token), "logprob": max(value, LEAST), "bytes": list(token)}


def _name(token: bytes) -> str:
    """Return a token as text, or its bytes in hexadecimal if it is only a part of a character."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


class CompletionLogprobs:
    """The lists of `logprobs` for one choice of /v1/completions; keeps track of text offsets.

    Args:
        codec: decodes the tokens.
        offset: characters in the choice's text before the completion.
    """

    def __init__(self, codec: Codec, offset: int = 0) -> None:
        self._codec, self._offset = codec, offset
        # A character may span several tokens.
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, output: Output) -> dict[str, list[Any]]:
        """Return the lists for the tokens of the next output."""
        lists: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for token_id, logprobs in zip(output.token_ids, output.logprobs, strict=False):
            token = self._codec.token_bytes(token_id)
            both = (*logprobs.top, (token_id, logprobs.chosen))
            lists["tokens"].append(_name(token))
            lists["token_logprobs"].append(max(logprobs.chosen, LEAST))
            lists["top_logprobs"].append(
                {_name(self._codec.token_bytes(other)): max(value, LEAST) for other, value in both}
            )
            lists["text_offset"].append(self._offset)
            if not self._codec.is_hidden(token_id):
                self._offset += len(self._text.decode(token))
        return lists
