"""Log probabilities as OpenAI's API spells them, for chat and for completions."""

import codecs
from typing import Any

from deepseek_server.engine.types import Output
from deepseek_server.server.served_model import Codec

# JSON has no infinity; OpenAI's API uses this for tokens that are next to impossible.
LEAST = -9999.0


def chat_logprobs(output: Output, codec: Codec) -> list[dict[str, Any]]:
    """The entries of `logprobs.content` for the tokens of an output."""
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
    """A token as text; where it is no text but a part of a character, its bytes in hexadecimal."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


class CompletionLogprobs:
    """The lists of `logprobs` for an answer of /v1/completions, of which offsets have a memory.

    Args:
        codec: spells the tokens.
        offset: characters of the choice's text before the answer.
    """

    def __init__(self, codec: Codec, offset: int = 0) -> None:
        self._codec, self._offset = codec, offset
        # Characters may be spread over several tokens.
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, output: Output) -> dict[str, list[Any]]:
        """The lists for the tokens of the next output."""
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
