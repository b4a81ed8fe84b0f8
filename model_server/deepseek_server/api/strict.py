"""Base class of all request bodies."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """A body without type conversions and unknown fields; null is the same as a missing field."""

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
    """Return the error for fields that are valid alone but not together."""
    context = {"text": f"{param}: {problem}", "param": param}
    return PydanticCustomError("invalid_combination", "{text}", context)
