"""Differences between the CRD schema of a cluster and ours, by field."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

# Keys that are no rules for the value itself: texts, and parts that are compared one by one.
NO_RULE = frozenset({"description", "properties", "items"})


@dataclass(frozen=True)
class Drift:
    """Paths of the fields that differ.

    Attributes:
        lacking: Fields that only our schema has.
        unknown: Fields that only the cluster's schema has.
        other: Fields of both with different rules, types or defaults.
    """

    lacking: tuple[str, ...]
    unknown: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def any(self) -> bool:
        """True if the schemas differ."""
        return bool(self.lacking or self.unknown or self.other)


def drift(ours: Schema, theirs: Schema) -> Drift:
    """Return the differences between two schemas; descriptions are ignored."""
    here, there = dict(_fields(ours, "")), dict(_fields(theirs, ""))
    return Drift(
        _outermost(here.keys() - there.keys()),
        _outermost(there.keys() - here.keys()),
        tuple(sorted(name for name in here.keys() & there.keys() if here[name] != there[name])),
    )


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield the path and the rules of every field of a schema."""
    yield path or "the resource", {name: schema[name] for name in schema if name not in NO_RULE}
    for name, part in schema.get("properties", {}).items():
        yield from _fields(part, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _fields(schema["items"], f"{path}[]")


def _outermost(paths: set[str]) -> tuple[str, ...]:
    """Return the paths that are not below another path of the set, sorted."""
    return tuple(sorted(path for path in paths if not _above(path) & paths))


def _above(path: str) -> set[str]:
    parts = path.replace("[]", ".[]").split(".")
    return {".".join(parts[:end]).replace(".[]", "[]") for end in range(1, len(parts))}
