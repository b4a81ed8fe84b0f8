"""The refusal of a spec that cannot be carried out."""

from dataclasses import dataclass

API_MISSING = "ApiMissing"


@dataclass(frozen=True)
class Refusal:
    """The reason why a spec is rejected.

    Attributes:
        reason: Machine-readable, in CamelCase.
        message: What is wrong and what to write instead.
    """

    reason: str
    message: str
