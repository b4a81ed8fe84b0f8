"""Validation by the CRD's CEL rules without an API server.

The rules are read from the generated CRD, the single source of truth; `cel-python` evaluates them.
Kubernetes' `split` is not part of CEL and is added as a function. Transition rules (`oldSelf`) do
not apply to a new resource.

Source: https://kubernetes.io/docs/reference/using-api/cel/
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import celpy
from celpy.celtypes import ListType, StringType

Object = Mapping[str, Any]
Rule = Mapping[str, str]

RULES = "x-kubernetes-validations"
TYPES: Mapping[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}


def broken(value: Any, schema: Object, where: str = "") -> Iterator[str]:
    """Yield the API server's message for each violated rule, prefixed with the field's path.

    Args:
        value: An object, or a part of one, with the schema's defaults (`with_defaults`).
        schema: The schema of that part in the CRD.
        where: Path of the part, empty for a whole object.
    """
    if not isinstance(value, TYPES.get(schema.get("type", ""), object)):
        return  # wrong type, which the operator reports as SpecUnreadable
    for rule in schema.get(RULES, []):
        if violation := _refusal(value, rule):
            yield f"{where}: {violation}" if where else violation
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        for name, part in value.items():
            inner = f"{where}.{name}" if where else name
            yield from broken(part, properties.get(name, {}), inner)
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from broken(item, schema.get("items", {}), f"{where}[{place}]")


def with_defaults(value: Any, schema: Object) -> Any:
    """Return a value as the API server stores it: absent fields have the schema's default."""
    if isinstance(value, list):
        return [with_defaults(item, schema.get("items", {})) for item in value]
    properties = schema.get("properties")
    if not isinstance(value, Mapping) or properties is None:
        return value
    defaults = {name: part["default"] for name, part in properties.items() if "default" in part}
    return {
        name: with_defaults(part, properties.get(name, {}))
        for name, part in {**defaults, **value}.items()
    }


def _refusal(value: Any, rule: Rule) -> str:
    """Return the message of a violated rule; empty if it holds or can't be evaluated."""
    if "oldSelf" in rule["rule"]:
        return ""
    try:
        if _evaluated(rule["rule"], value):
            return ""
    except celpy.CELEvalError:
        return ""  # a part of the value has a wrong type
    try:
        return str(_evaluated(rule.get("messageExpression", ""), value) or rule["message"])
    except celpy.CELEvalError:
        return rule["message"]


def _evaluated(expression: str, value: Any) -> Any:
    return _program(expression).evaluate({"self": celpy.json_to_cel(value)}) if expression else None


@cache
def _program(expression: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression), functions={"split": _split})


def _split(text: StringType, separator: StringType) -> ListType:
    return ListType(StringType(part) for part in text.split(separator))
