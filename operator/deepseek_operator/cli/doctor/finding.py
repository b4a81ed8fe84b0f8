"""What a check has found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        check: What was looked at.
        state: ok; warning: something will not work, or not well; problem: no model will serve;
            unknown: nobody could look.
        message: What was found, as a sentence.
        fix: What to do, empty where nothing is to be done.
    """

    check: str
    state: State
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Unseen:
    """A fact that could not be looked at.

    Attributes:
        why: What the API server has said.
        grant: The right that is missing, such as `list nodes`; empty where that is not the reason.
    """

    why: str
    grant: str = ""


def unseen(check: str, fact: Unseen) -> Finding:
    """What there is to say of a fact that could not be looked at."""
    fix = f"Ask for the right to {fact.grant}." if fact.grant else "Try again."
    return Finding(check, "unknown", f"{fact.why.rstrip('.')}.", fix)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether there is a problem among them."""
    return any(found.state == "problem" for found in findings)


def plain(findings: list[Finding]) -> dict[str, Any]:
    """Findings for programs."""
    rows = [
        {"check": found.check, "state": found.state, "message": found.message, "do": found.fix}
        for found in findings
    ]
    return {"healthy": not failed(findings), "checks": rows}
