"""From pydantic's JSON schema to the structural OpenAPI schema that a CRD takes."""

from typing import Any

from pydantic import BaseModel

# Fields of JSON schema that say the same in a structural schema.
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
    """The structural schema of a section: references inlined, null as absence, int32 by default."""
    schema = section.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, definitions)
    result = {key: node[key] for key in KEPT if key in node}
    result |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    # Empty defaults stay out: written back into every stored object they would only be noise.
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
    """Follow $ref and drop the null branch; what stands at the field wins over the definition."""
    outer = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
    if "anyOf" in node:
        (branch,) = (option for option in node["anyOf"] if option.get("type") != "null")
        return _resolved({**branch, **outer}, definitions)
    if "$ref" in node:
        definition = definitions[node["$ref"].removeprefix("#/$defs/")]
        return _resolved({**definition, **outer}, definitions)
    return node
