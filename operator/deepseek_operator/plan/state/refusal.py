"""The refusal of a spec that cannot be carried out."""

from dataclasses import dataclass

API_MISSING = "ApiMissing"


@dataclass(frozen=True)
class Refusal:
    """Why a spec is not carried out.

    Attributes:
        reason: One CamelCase word for programs.
        message: What is wrong and what to write instead.
    """

    reason: str
    message: str
