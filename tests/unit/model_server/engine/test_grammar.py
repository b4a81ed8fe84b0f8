"""Answers of a random model, constrained by a grammar, always match it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from deepseek_server.engine.grammar import GrammarCompiler, GrammarError, Matcher, validate
from deepseek_server.engine.sampling.sampler import Sampler, SamplingStep
from deepseek_server.engine.types import Sampling
from hack.models.tiny import END, USER, make_tokenizer

PADDING = 37  # a model's vocabulary is wider than its tokenizer's
SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    {"type": "integer", "minimum": -3, "maximum": 1200},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "boolean"},
    {"enum": ["left", "right", 7, None]},
    {"const": {"fixed": [1, "two"]}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    {"type": "string", "minLength": 3, "maxLength": 12},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
    {"type": "string", "format": "date-time"},
    {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 4}]},
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "temperatures": {"type": "array", "items": {"type": "number"}, "maxItems": 3},
            "wind": {
                "type": "object",
                "properties": {
                    "from": {"enum": ["N", "E", "S", "W"]},
                    "speed": {"type": "integer"},
                },
                "required": ["from", "speed"],
                "additionalProperties": False,
            },
        },
        "required": ["city", "wind"],
        "additionalProperties": False,
    },
    {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"leaves": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
                "required": ["leaves"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "minProperties": 1,
        "maxProperties": 3,
    },
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="module")
def compiler(tokenizer: PreTrainedTokenizerFast) -> GrammarCompiler:
    end = tokenizer.convert_tokens_to_ids(END)
    return GrammarCompiler(tokenizer, len(tokenizer) + PADDING, frozenset({end}))


Answers = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def answers(tokenizer: PreTrainedTokenizerFast, compiler: GrammarCompiler) -> Answers:
    """Return texts of a model with random logits under a grammar, six at a time."""
    end = tokenizer.convert_tokens_to_ids(END)
    sampler, vocabulary = Sampler(frozenset({end})), len(tokenizer) + PADDING
    closing = [i for i in range(len(tokenizer)) if re.fullmatch(r'["\]}]+', tokenizer.decode([i]))]

    def run(grammar: str) -> list[str]:
        noise = torch.Generator().manual_seed(5)
        matchers = [compiler.matcher(grammar) for _ in range(6)]
        texts: list[list[int]] = [[] for _ in matchers]
        running = list(range(len(matchers)))
        for step in range(400):
            logits = 2 * torch.randn(len(running), vocabulary, generator=noise)
            logits[:, [*closing, end]] += step / 10  # or it would not end
            logits[:, len(tokenizer) :] = 50.0  # padding that the model likes best
            draws = [
                SamplingStep(
                    Sampling(400, grammar=grammar), row, step, texts[row], 0, matchers[row].mask()
                )
                for row in running
            ]
            for row, token in zip(
                list(running), sampler.sample(logits, draws).tokens.tolist(), strict=True
            ):
                assert token < len(tokenizer)
                matchers[row].accept(token)
                texts[row].append(token)
                if token == end:
                    running.remove(row)
            if not running:
                return [tokenizer.decode(tokens[:-1]) for tokens in texts]
        raise AssertionError([tokenizer.decode(texts[row]) for row in running])

    return run


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:40])
def test_a_schema_accepts_every_answer(schema: dict[str, Any], answers: Answers) -> None:
    grammar = json.dumps({"json_schema": schema})
    assert validate(grammar) is None
    for text in answers(grammar):
        jsonschema.validate(json.loads(text), schema)


def test_json_objects(answers: Answers) -> None:
    assert all(isinstance(json.loads(text), dict) for text in answers('{"json_object": true}'))


def test_a_regex_matches_the_whole_answer(answers: Answers) -> None:
    grammar = json.dumps({"regex": r"(ja|nein), [0-9]{1,3} é+\."})
    for text in answers(grammar):
        assert re.fullmatch(r"(ja|nein), [0-9]{1,3} é+\.", text)


def test_a_choice_is_one_of_the_texts(answers: Answers) -> None:
    texts = ["yes", "no", 'say "hm"', "back\\slash\n\tand /", "日本 😀", "\x01\x7f"]
    grammar = json.dumps({"choice": texts})
    assert set(answers(grammar)) <= set(texts)
    for text in texts:
        assert answers(json.dumps({"choice": [text]})) == [text] * 6


def test_a_lark_grammar(answers: Answers) -> None:
    grammar = json.dumps({"lark": 'start: sum\nsum: NUMBER ("+" NUMBER)*\nNUMBER: /[1-9]/'})
    assert all(re.fullmatch(r"[1-9](\+[1-9])*", text) for text in answers(grammar))


def allowed(matcher: Matcher) -> set[int]:
    bits = np.unpackbits(matcher.mask().view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits).tolist())


def follow(matcher: Matcher, tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    for token in tokenizer.encode(text, add_special_tokens=False):
        matcher.accept(token)


def test_a_complete_answer_can_only_end(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ends = frozenset(tokenizer.convert_tokens_to_ids([END, USER]))
    matcher = GrammarCompiler(tokenizer, len(tokenizer), ends).matcher('{"regex": "abc?"}')
    follow(matcher, tokenizer, "a")
    assert not allowed(matcher) & ends
    follow(matcher, tokenizer, "b")
    assert allowed(matcher) > ends
    assert not matcher.finished
    follow(matcher, tokenizer, "c")
    assert matcher.finished
    assert allowed(matcher) == ends
    matcher.accept(min(ends))
    assert matcher.finished
    assert allowed(matcher) == ends


def test_special_tokens_are_never_allowed_as_text(
    compiler: GrammarCompiler, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokens = allowed(compiler.matcher(json.dumps({"regex": r"(?s:.)*"})))
    assert max(tokens) < len(tokenizer)
    specials = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids(USER)}
    assert tokens & specials == {tokenizer.convert_tokens_to_ids(END)}


def test_matchers_of_one_grammar_are_independent(
    compiler: GrammarCompiler, tokenizer: PreTrainedTokenizerFast
) -> None:
    one, other = (compiler.matcher('{"choice": ["ab", "cd"]}') for _ in range(2))
    start = allowed(one)
    follow(one, tokenizer, "ab")
    assert one.finished
    assert allowed(other) == start
    assert not other.finished


def test_a_token_outside_the_grammar_is_an_error(
    compiler: GrammarCompiler, tokenizer: PreTrainedTokenizerFast
) -> None:
    matcher = compiler.matcher('{"regex": "ab"}')
    with pytest.raises(GrammarError, match="the grammar failed during generation: "):
        follow(matcher, tokenizer, "x")
    assert not matcher.finished


def test_space_between_the_parts_is_limited(
    compiler: GrammarCompiler, tokenizer: PreTrainedTokenizerFast
) -> None:
    matcher = compiler.matcher('{"json_object": true}')
    follow(matcher, tokenizer, "{\n" + " " * 38)
    with pytest.raises(GrammarError):
        follow(matcher, tokenizer, "  ")


def test_a_tokenizer_can_be_read_from_its_directory(
    tokenizer: PreTrainedTokenizerFast, compiler: GrammarCompiler, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    end = frozenset({tokenizer.convert_tokens_to_ids(END)})
    grammar = '{"json_object": true}'
    read = GrammarCompiler(tmp_path, len(tokenizer) + PADDING, end).matcher(grammar)
    assert allowed(read) == allowed(compiler.matcher(grammar))


def test_a_model_without_end_tokens_supports_no_grammar(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="require a model with at least one end token"):
        GrammarCompiler(tokenizer, len(tokenizer), frozenset())


ONE_OF = "a grammar must be a JSON object with one of json_schema, json_object, regex, choice, lark"
SCHEMA = "the JSON schema is invalid or not supported: "
WRONG = {
    '{"json_schema": {"type": "strange"}}': SCHEMA + "Invalid type: strange",
    '{"json_schema": {"not": {"type": "string"}}}': SCHEMA + 'Unimplemented keys: ["not"]',
    '{"json_schema": {"type": "integer", "minimum": 3, "maximum": 1}}': SCHEMA
    + "Unsatisfiable schema: minimum (3) is greater than maximum (1)",
    '{"json_schema": {"type": "string", "pattern": "(["}}': SCHEMA
    + "regex parse error: unclosed character class",
    '{"json_schema": [1]}': "the JSON schema must be an object",
    '{"json_object": false}': "json_object must be true",
    '{"regex": "(["}': "the regular expression is invalid or not supported: at 1(8): invalid regex "
    '"([" (in regex): regex parse error: unclosed character class',
    '{"regex": 5}': "the regular expression must be a string",
    '{"choice": []}': "the choice must have at least one string",
    '{"choice": ["a", ""]}': "the choice must be a list of non-empty strings",
    '{"choice": "a"}': "the choice must be a list of non-empty strings",
    '{"lark": "start: foo"}': "the Lark grammar is invalid or not supported: at 1(8): unknown name: "
    '"foo"',
    '{"grammar": "x"}': ONE_OF,
    '{"regex": "a", "choice": ["b"]}': ONE_OF,
    "{}": ONE_OF,
    "[]": ONE_OF,
    "{": "the grammar is not valid JSON: Expecting property name enclosed in double quotes: line 1 "
    "column 2 (char 1)",
}


@pytest.mark.parametrize(("grammar", "sentence"), WRONG.items())
def test_an_invalid_grammar_is_explained(
    grammar: str, sentence: str, compiler: GrammarCompiler
) -> None:
    assert validate(grammar) == sentence
    with pytest.raises(GrammarError, match=f"^{re.escape(sentence)}$"):
        compiler.matcher(grammar)


@pytest.mark.parametrize("depth", [200, 20_000])
@pytest.mark.parametrize("kind", ["json_schema", "regex", "lark"])
def test_too_deep_nesting_is_rejected(kind: str, depth: int) -> None:
    grammar = {
        "json_schema": '{"json_schema": ' + '{"items": ' * depth + "{}" + "}" * depth + "}",
        "regex": json.dumps({"regex": "(" * 10 * depth + "a" + ")" * 10 * depth}),
        "lark": json.dumps({"lark": "start: " + "(" * 10 * depth + '"a"' + ")" * 10 * depth}),
    }[kind]
    sentence = validate(grammar)
    assert sentence is not None
    assert "\n" not in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize("kind", ["json_schema", "regex", "lark", "choice"])
def test_invalid_unicode_is_rejected(kind: str) -> None:
    text = '"\\ud800"'
    content = {"json_schema": f'{{"const": {text}}}', "choice": f"[{text}]"}.get(kind, text)
    assert "is invalid or not supported" in str(validate(f'{{"{kind}": {content}}}'))
