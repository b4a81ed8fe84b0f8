"""Changes in a cluster as a unified diff and as plain data."""

import difflib
from typing import Any

from deepseek_operator.cli.live.dry_run import Change, plain
from deepseek_operator.cli.output import as_yaml

Object = dict[str, Any]

NOTHING = "/dev/null"


def unified(change: Change) -> str:
    """Return the change of one object in the format of `diff -u`."""
    name = f"{change.kind}/{change.name}"
    return "".join(
        difflib.unified_diff(
            _lines(change.before),
            _lines(change.after),
            f"live/{name}" if change.before else NOTHING,
            f"planned/{name}" if change.after else NOTHING,
        )
    )


def listed(changes: list[Change]) -> dict[str, Any]:
    """Return all changes as plain data."""
    rows = [
        {"change": item.what, "kind": item.kind, "name": item.name, "diff": unified(item)}
        for item in changes
    ]
    return {"different": bool(changes), "changes": rows}


def _lines(item: Object | None) -> list[str]:
    return as_yaml(plain(item)).splitlines(keepends=True) if item else []
