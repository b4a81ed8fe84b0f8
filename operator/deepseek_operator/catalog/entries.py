"""Entries of the catalogue: built-in ones, and those that an installation adds.

An installation adds entries with a YAML file with `models` and `accelerators`, which the chart
creates from its value `catalog`. They override built-in entries of the same name.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class EntryError(Exception):
    """Raised when an entry of the catalogue is invalid; the message names entry, field and cause."""


class Entry(BaseModel):
    """Base class of entries: camelCase in YAML, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=True
    )


class Own(Entry):
    """Entries that an installation adds, by name."""

    models: dict[str, dict[str, Any]] = {}
    accelerators: dict[str, dict[str, Any]] = {}


_own = Own()

Kind = TypeVar("Kind", bound=Entry)


def built_in(name: str) -> dict[str, Any]:
    """Return the content of a built-in YAML file."""
    text = resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def own() -> Own:
    """Return the entries that the installation added; empty before `add`."""
    return _own


def add(path: Path) -> None:
    """Add an installation's entries from a file; once, before the catalogue is used.

    Raises:
        EntryError: The file can't be read or is not a catalogue.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise EntryError(f"{path} can't be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise EntryError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    take(content, str(path))


def take(content: Any, where: str) -> None:
    """Add an installation's entries.

    Args:
        content: Mapping with `models` and `accelerators`.
        where: Origin of the content, for error messages.

    Raises:
        EntryError: The content is not a catalogue.
    """
    global _own
    try:
        _own = Own.model_validate(content)
    except ValidationError as error:
        raise EntryError(f"{where}: {_first(error)}.") from error


def entries(section: str, kind: type[Kind], found: Mapping[str, Any]) -> dict[str, Kind]:
    """Validate entries and return them by name.

    Raises:
        EntryError: An entry is invalid.
    """
    result = {}
    for name, fields in found.items():
        try:
            result[name] = kind.model_validate(fields)
        except ValidationError as error:
            raise EntryError(f"catalog.{section}.{name}: {_first(error)}.") from error
    return result


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
