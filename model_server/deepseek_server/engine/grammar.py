"""Structured outputs: the tokens that a grammar allows next.

`Sampling.grammar` is a JSON object with one member:

- `{"json_schema": {...}}`: a JSON document that matches the schema (a keyword of JSON Schema
  that cannot be enforced is an error)
- `{"json_object": true}`: any JSON object
- `{"regex": "..."}`: text that matches a regular expression as a whole (Rust's syntax: no
  look-around, no back-references)
- `{"choice": ["...", ...]}`: one of some strings
- `{"lark": "..."}`: text that matches a context-free grammar in Lark's notation

Based on llguidance, which compiles lazily, so that a request with a large schema does not delay others.
White space between the parts of a JSON document is limited, because a model can get stuck writing only
white space, which the grammar would allow up to the last token.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from deepseek_server.engine.sampling.bitmask import words_for
from deepseek_server.engine.types import EngineError

_SPACE = r"[ \n\r\t]{0,40}"  # a line break and ten levels of indentation
_COMPILED = 64  # number of compiled grammars in the cache
_LONGEST_REASON = 300
_LIMITS = LLParserLimits(verbose_errors=False)
_NAMES = {
    "json_schema": "the JSON schema",
    "json_object": "json_object",
    "regex": "the regular expression",
    "choice": "the choice",
    "lark": "the Lark grammar",
}


class GrammarError(EngineError):
    """A grammar is invalid or unsupported, or failed during generation."""


def validate(grammar: str) -> str | None:
    """Return what is wrong with a grammar, as a sentence for its author; None if it is valid.

    Args:
        grammar: as in `Sampling.grammar`.
    """
    try:
        kind, content = _parsed(grammar)
        reason = LLMatcher.validate_grammar(_translated(kind, content), limits=_LIMITS)
    except GrammarError as error:
        return str(error)
    return _sentence(kind, reason) if reason else None


class Matcher:
    """The state of one answer in its grammar.

    Args:
        matcher: the library's matcher in its initial state.
        words: length of a mask.
    """

    def __init__(self, matcher: LLMatcher, words: int) -> None:
        self._matcher, self._words = matcher, words

    @property
    def finished(self) -> bool:
        """Whether the text is complete and only an end token is allowed."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def mask(self) -> NDArray[np.int32]:
        """Return the tokens that may come next, packed as in engine.sampling.bitmask.

        Raises:
            GrammarError: the grammar exceeds the library's limits.
        """
        mask = np.zeros(self._words, dtype=np.int32)
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._check()
        return mask

    def accept(self, token: int) -> None:
        """Advance by a token.

        Raises:
            GrammarError: the mask did not allow it.
        """
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = self._matcher.get_error().splitlines()[0]
            raise GrammarError(f"the grammar failed during generation: {reason}")


class GrammarCompiler:
    """Compiles grammars for the tokens of one model.

    Args:
        tokenizer: the model's tokenizer, or its directory.
        vocabulary: the width of the model's logits. Ids beyond the tokenizer's tokens are never
            allowed.
        eos_token_ids: the model's end tokens, at least one; any of them may end a complete answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast | Path,
        vocabulary: int,
        eos_token_ids: frozenset[int],
    ) -> None:
        if not eos_token_ids:
            raise ValueError("grammars require a model with at least one end token")
        if isinstance(tokenizer, Path):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer, local_files_only=True)
        self._words = words_for(vocabulary)
        self._tokenizer = from_tokenizer(
            tokenizer, n_vocab=vocabulary, eos_token=sorted(eos_token_ids)
        )
        self._compiled = lru_cache(maxsize=_COMPILED)(self._compile)

    def matcher(self, grammar: str) -> Matcher:
        """Return a new matcher of a grammar, which is as in `Sampling.grammar`.

        Raises:
            GrammarError: the grammar is invalid; same sentence as from `validate`.
        """
        return Matcher(self._compiled(grammar).deep_copy(), self._words)

    def _compile(self, grammar: str) -> LLMatcher:
        kind, content = _parsed(grammar)
        matcher = LLMatcher(
            self._tokenizer, _translated(kind, content), log_level=0, limits=_LIMITS
        )
        if matcher.is_error():
            raise GrammarError(_sentence(kind, matcher.get_error()))
        return matcher


def _parsed(grammar: str) -> tuple[str, Any]:
    """Return the kind and the content of a grammar."""
    try:
        content = json.loads(grammar)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"the grammar is not valid JSON: {error}") from error
    if not isinstance(content, dict) or len(content) != 1 or not content.keys() <= _NAMES.keys():
        raise GrammarError(f"a grammar must be a JSON object with one of {', '.join(_NAMES)}")
    return next(iter(content.items()))


def _translated(kind: str, content: Any) -> str:
    """Return a grammar in the library's format."""
    translate: dict[str, Callable[[Any], str]] = {
        "json_schema": _json_schema,
        "json_object": _json_object,
        "regex": LLMatcher.grammar_from_regex,
        "choice": lambda texts: LLMatcher.grammar_from_regex(_alternatives(texts)),
        "lark": LLMatcher.grammar_from_lark,
    }
    if kind in ("regex", "lark") and not isinstance(content, str):
        raise GrammarError(f"{_NAMES[kind]} must be a string")
    try:
        return translate[kind](content)
    except (ValueError, RecursionError) as error:  # invalid Unicode, or nested too deeply
        raise GrammarError(_sentence(kind, str(error))) from error


def _json_schema(schema: Any) -> str:
    if not isinstance(schema, dict):
        raise GrammarError("the JSON schema must be an object")
    return LLMatcher.grammar_from_json_schema(
        json.dumps(schema), overrides={"whitespace_pattern": _SPACE}
    )


def _json_object(wanted: Any) -> str:
    if wanted is not True:
        raise GrammarError("json_object must be true")
    return _json_schema({"type": "object"})


def _alternatives(texts: Any) -> str:
    """Return a regular expression that matches any of some strings."""
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise GrammarError("the choice must be a list of non-empty strings")
    if not texts:
        raise GrammarError("the choice must have at least one string")
    return "|".join(
        re.sub(r"[^A-Za-z0-9]", lambda found: rf"\x{{{ord(found[0]):x}}}", text) for text in texts
    )


def _sentence(kind: str, message: str) -> str:
    """Return the library's message, which may contain a source excerpt, in one line."""
    lines = [line.strip() for line in message.splitlines()]
    reason = lines[0]
    for line in lines[1:]:
        if line.startswith("error: "):
            reason = f"{reason} {line.removeprefix('error: ')}"
            break
    if len(reason) > _LONGEST_REASON:  # it quotes its input
        reason = reason[:_LONGEST_REASON] + "…"
    return f"{_NAMES[kind]} is invalid or not supported: {reason}"
