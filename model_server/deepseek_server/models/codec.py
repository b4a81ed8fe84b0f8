"""Between text and tokens, exactly as the model's own tokenizer.json says."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from deepseek_server.failures import PermanentError

log = logging.getLogger(__name__)


class TokenizerCodec:
    """A transformers tokenizer, reduced to what serving needs.

    The generic class is used on purpose: the classes of some architectures put their own rules for
    splitting words in place of those in tokenizer.json, which are wrong for a distilled model that
    came with another tokenizer than its architecture's first.
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

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends an answer, if the tokenizer names one."""
        token_id = self._tokenizer.eos_token_id
        return None if token_id is None else int(token_id)

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be encoded."""
        return self._tokenizer.chat_template is not None

    def encode(self, text: str) -> list[int]:
        """The tokens of a plain prompt, with the model's begin token where it wants one.

        Raises:
            ValueError: the text has characters that do not exist.
        """
        ids = list(self._tokenizer.encode(_checked(text)))
        bos = self._tokenizer.bos_token_id
        if self._begins_with_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of a conversation; see serving.Codec."""
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=True,
            )
        except TemplateError as error:
            raise ValueError(str(error)) from error
        return list(self._tokenizer.encode(_checked(text), add_special_tokens=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return str(
            self._tokenizer.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


def _checked(text: str) -> str:
    """The text, if it is one: JSON can spell half of a surrogate pair, which no text contains."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} is half of a surrogate pair, which is not text"
        ) from error
    return text


def _begins_with_bos(directory: Path) -> bool:
    """Whether tokenizer_config.json wants a begin token, which tokenizer.json may not add."""
    try:
        return (
            json.loads((directory / "tokenizer_config.json").read_bytes())["add_bos_token"] is True
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
