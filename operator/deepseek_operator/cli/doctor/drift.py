"""How the schema of a CRD that a cluster has differs from ours, told by fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

# Not what holds for a value, or said of its parts one by one.
NO_RULE = frozenset({"description", "properties", "items"})


@dataclass(frozen=True)
class Drift:
    """Fields by their path.

    Attributes:
        lacking: We have them, the cluster has not.
        unknown: The cluster has them, we have not.
        other: Both have them, and hold them to other rules, types or defaults.
    """

    lacking: tuple[str, ...]
    unknown: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        return bool(self.lacking or self.unknown or self.other)


def drift(ours: Schema, theirs: Schema) -> Drift:
    """What differs between two schemas; descriptions don't count."""
    here, there = dict(_fields(ours, "")), dict(_fields(theirs, ""))
    return Drift(
        _outermost(here.keys() - there.keys()),
        _outermost(there.keys() - here.keys()),
        tuple(sorted(name for name in here.keys() & there.keys() if here[name] != there[name])),
    )


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every field below a schema with what holds for it."""
    yield path or "the resource", {name: schema[name] for name in schema if name not in NO_RULE}
    for name, part in schema.get("properties", {}).items():
        yield from _fields(part, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _fields(schema["items"], f"{path}[]")


def _outermost(paths: set[str]) -> tuple[str, ...]:
    """Those that are not below another one of them."""
    return tuple(sorted(path for path in paths if not _above(path) & paths))


def _above(path: str) -> set[str]:
    parts = path.replace("[]", ".[]").split(".")
    return {".".join(parts[:end]).replace(".[]", "[]") for end in range(1, len(parts))}
