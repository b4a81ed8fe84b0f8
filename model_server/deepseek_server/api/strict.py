"""What the models of all request bodies have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """No conversions between types, no unknown fields; null is the same as leaving a field out."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, validate_by_name=False
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {
            name: value for name, value in data.items() if value is not None or name not in known
        }


def invalid_combination(param: str, problem: str) -> PydanticCustomError:
    """The error of fields that are right but not together."""
    context = {"text": f"{param}: {problem}", "param": param}
    return PydanticCustomError("invalid_combination", "{text}", context)
