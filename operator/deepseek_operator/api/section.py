"""The base of every part of the custom resource: camelCase in YAML, frozen in Python."""

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

GROUP = "deepseek-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "DeepSeekDeployment"
PLURAL = "deepseekdeployments"


class Section(BaseModel):
    """A part of the custom resource.

    Unknown fields are ignored here, because the API server has already refused or pruned them
    and an older operator must be able to read what a newer CRD let in.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


Rule = dict[str, JsonValue]


def rule(expression: str, message: str, made: str = "") -> Rule:
    """A CEL rule of the CRD: what must hold for `self`, and what to write where it does not.

    Args:
        expression: What must hold.
        message: What is said otherwise.
        made: Makes a message that fits the value, in CEL; `message` stands in where that fails.
    """
    return {"rule": expression, "message": message, **({"messageExpression": made} if made else {})}


def validated(*rules: Rule) -> ConfigDict:
    """The model configuration of a section that carries CEL rules."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list[JsonValue](rules)})
