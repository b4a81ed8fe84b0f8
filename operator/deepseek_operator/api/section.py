"""Base class of every part of the custom resource: camelCase in YAML, frozen in Python."""

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

GROUP = "deepseek-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "DeepSeekDeployment"
PLURAL = "deepseekdeployments"


class Section(BaseModel):
    """A part of the custom resource.

    Unknown fields are ignored: the API server has already rejected or pruned them, and an older
    operator must be able to read objects of a newer CRD.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


Rule = dict[str, JsonValue]


def rule(expression: str, message: str, made: str = "") -> Rule:
    """Return a CEL validation rule of the CRD.

    Args:
        expression: CEL condition on `self` that a valid object meets.
        message: Error message, with what to write instead.
        made: CEL expression for a message that depends on the value; `message` is used if it fails.
    """
    return {"rule": expression, "message": message, **({"messageExpression": made} if made else {})}


def validated(*rules: Rule) -> ConfigDict:
    """Return the pydantic configuration of a section with CEL rules."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list[JsonValue](rules)})
