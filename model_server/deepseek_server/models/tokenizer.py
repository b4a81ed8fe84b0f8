"""Encoding and decoding of text, exactly as the model's own tokenizer.json defines it."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from deepseek_server.errors import PermanentError
from deepseek_server.models.bytelevel import BYTES

log = logging.getLogger(__name__)

# Special tokens with one of these in their names are the markers that separate reasoning and tool
# calls from the answer; some tokenizers declare them special, others do not.
STRUCTURE = re.compile("think|tool|DSML")

# Expression with which a template renders tool call arguments that it expects as an object, not as
# JSON text.
OBJECT_ARGUMENTS = re.compile(
    r"(?:arguments|call(?:\.function|\['function'\])?)['\"\])]*\s*\|\s*tojson"
)


class TokenizerCodec:
    """A transformers tokenizer, reduced to what serving needs.

    The generic class is used on purpose: the classes of some architectures replace the
    pre-tokenization rules of tokenizer.json by their own, which are wrong for a distilled model
    whose tokenizer differs from the original one of its architecture.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._tokenizer = PreTrainedTokenizerFast.from_pretrained(
                directory, local_files_only=True
            )
        except Exception as error:  # the library raises whatever its parser does
            raise PermanentError(
                f"the tokenizer in {directory} cannot be loaded ({error}): copy the model's "
                "original tokenizer files again"
            ) from error
        self._begins_with_bos = _begins_with_bos(directory)
        backend = self._tokenizer.backend_tokenizer
        self._added = {number: str(t) for number, t in self._tokenizer.added_tokens_decoder.items()}
        self._hidden = frozenset(
            number
            for number, token in self._tokenizer.added_tokens_decoder.items()
            if token.special and not STRUCTURE.search(token.content)
        )
        self._byte_level = '"ByteLevel"' in backend.decoder.__getstate__().decode()

    @property
    def eos_token_id(self) -> int | None:
        """The end-of-sequence token, if the tokenizer defines one."""
        token_id = self._tokenizer.eos_token_id
        return None if token_id is None else int(token_id)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer has a chat template, so that conversations can be encoded."""
        return self._tokenizer.chat_template is not None

    @property
    def chat_template(self) -> str:
        """Source of the chat template, or of all templates if there are several."""
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            return "\n".join(template.values())
        return template or ""

    def encode(self, text: str, *, bare: bool = False) -> list[int]:
        """Return the tokens of a plain prompt, with the model's begin token if it requires one.

        Raises:
            ValueError: the text contains a character that is not valid Unicode.
        """
        ids = list(self._tokenizer.encode(_checked(text), add_special_tokens=not bare))
        bos = self._tokenizer.bos_token_id
        if self._begins_with_bos and not bare and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Return the tokens of a conversation; see serving.Codec.

        The template is rendered with a content of None where a message has none, as DeepSeek's
        templates expect; the tokenizer's own method would drop the key.
        """
        given = [dict(tool) for tool in tools] or None
        template = self._tokenizer.get_chat_template(tools=given)
        turns = [dict(message) for message in messages]
        if OBJECT_ARGUMENTS.search(template):
            turns = [_with_object_arguments(turn) for turn in turns]
        try:
            rendered, _ = render_jinja_template(
                conversations=[turns],
                tools=given,
                chat_template=template,
                add_generation_prompt=True,
                **{**self._tokenizer.special_tokens_map, **(variables or {})},
            )
        except TemplateError as error:
            raise ValueError(str(error)) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, RecursionError) as error:
            # A template is a program that runs on client input.
            raise ValueError(f"it fails with {type(error).__name__}: {error}") from error
        return self.encode(rendered[0], bare=True)

    def decode(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text of tokens, without hidden special tokens; see serving.Codec."""
        ids = list(token_ids)
        if not special:
            ids = [token_id for token_id in ids if token_id not in self._hidden]
        return str(self._tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False))

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of a token; see serving.Codec."""
        if token_id in self._added:
            return self._added[token_id].encode()
        token = self._tokenizer.backend_tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if self._byte_level:
            return bytes(BYTES[letter] for letter in token)
        return self.decode([token_id], special=True).encode()

    def is_hidden(self, token_id: int) -> bool:
        """Return whether `decode` omits the token."""
        return token_id in self._hidden


def _checked(text: str) -> str:
    """Return the text if it is valid; JSON can spell half of a surrogate pair, which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} is half of a surrogate pair, which is not text"
        ) from error
    return text


def _with_object_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message with the arguments of its tool calls parsed where they are valid JSON."""
    if "tool_calls" not in message:
        return dict(message)
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):  # a model wrote them
            arguments = function["arguments"]
        calls.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _begins_with_bos(directory: Path) -> bool:
    """Return whether tokenizer_config.json asks for a begin token that tokenizer.json may lack."""
    try:
        return (
            json.loads((directory / "tokenizer_config.json").read_bytes())["add_bos_token"] is True
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
