"""Conversion of pydantic's JSON schema to the structural OpenAPI schema of a CRD."""

from typing import Any

from pydantic import BaseModel

# Fields of JSON schema that mean the same in a structural schema.
KEPT = (
    "type",
    "description",
    "enum",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)


def structural(section: type[BaseModel]) -> dict[str, Any]:
    """Return the structural schema of a section: references inlined, no null, int32 by default."""
    schema = section.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, definitions)
    result = {key: node[key] for key in KEPT if key in node}
    result |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    # Without empty defaults: the API server would write them into every stored object.
    if node.get("default") and node["type"] not in ("object", "array"):
        result["default"] = node["default"]
    if node.get("type") == "integer":
        result.setdefault("format", "int32")
    if "properties" in node:
        result["properties"] = {
            name: _structural(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        result["items"] = _structural(node["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    return result


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow $ref and drop the null branch; the field's own keys win over the definition's."""
    outer = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
    if "anyOf" in node:
        (branch,) = (option for option in node["anyOf"] if option.get("type") != "null")
        return _resolved({**branch, **outer}, definitions)
    if "$ref" in node:
        definition = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _resolved({**definition, **outer}, definitions)
    return node
