"""Results of checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One row of the report.

    Attributes:
        check: Name of the check.
        state: ok; warning: a feature will not work, or not well; problem: no model will serve;
            unknown: the fact could not be read.
        message: The finding, as a sentence.
        fix: What to do; empty if nothing needs to be done.
    """

    check: str
    state: State
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Unseen:
    """A fact that could not be read.

    Attributes:
        why: Error message of the API server.
        grant: The missing permission, such as `list nodes`; empty if that is not the cause.
    """

    why: str
    grant: str = ""


def unseen(check: str, fact: Unseen) -> Finding:
    """Return the finding for a fact that could not be read."""
    fix = f"Ask for permission to {fact.grant}." if fact.grant else "Try again."
    return Finding(check, "unknown", f"{fact.why.rstrip('.')}.", fix)


def failed(findings: Iterable[Finding]) -> bool:
    """Return True if any finding is a problem."""
    return any(found.state == "problem" for found in findings)


def plain(findings: list[Finding]) -> dict[str, Any]:
    """Return findings as plain data."""
    rows = [
        {"check": found.check, "state": found.state, "message": found.message, "do": found.fix}
        for found in findings
    ]
    return {"healthy": not failed(findings), "checks": rows}
