"""Structured outputs: the request fields that become a grammar."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from deepseek_server.api.strict import Strict, invalid_combination


class NamedSchema(Strict):
    """A JSON schema; `strict` has no effect, since the schema is always enforced."""

    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """OpenAI's `response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = Field(None, validate_default=True)

    @field_validator("json_schema")
    @classmethod
    def _if_it_is_used(cls, value: NamedSchema | None, info: ValidationInfo) -> NamedSchema | None:
        kind = info.data.get("type")
        if (value is not None) != (kind == "json_schema"):
            raise ValueError("required with type json_schema, not allowed with any other type")
        return value


def _schema(value: dict[str, Any] | str) -> dict[str, Any] | bool:
    if isinstance(value, dict):
        return value
    try:
        schema = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be a JSON schema or its text, but is not JSON ({error})") from error
    if not isinstance(schema, dict):
        raise ValueError('a JSON schema must be an object such as {"type": "object"}')
    return schema


class Structured(Strict):
    """The fields that constrain an answer; `response_format` is OpenAI's, the others vLLM's."""

    response_format: ResponseFormat | None = None
    guided_json: Annotated[dict[str, Any] | str, AfterValidator(_schema)] | None = None
    guided_regex: str | None = Field(None, min_length=1)
    guided_choice: list[str] | None = Field(None, min_length=1)

    def grammar(self) -> str:
        """Return the grammar of the answer, as in Sampling; empty if unconstrained.

        Raises:
            PydanticCustomError: more than one field constrains it.
        """
        rules: dict[str, dict[str, Any]] = {}
        if self.response_format is not None and self.response_format.type != "text":
            named = self.response_format.json_schema
            rule = {"json_schema": named.schema_} if named else {"json_object": True}
            rules["response_format"] = rule
        if self.guided_json is not None:
            rules["guided_json"] = {"json_schema": self.guided_json}
        if self.guided_regex is not None:
            rules["guided_regex"] = {"regex": self.guided_regex}
        if self.guided_choice is not None:
            rules["guided_choice"] = {"choice": self.guided_choice}
        if len(rules) > 1:
            raise invalid_combination(
                list(rules)[1], f"cannot be combined with {next(iter(rules))}"
            )
        return next((json.dumps(rule) for rule in rules.values()), "")
