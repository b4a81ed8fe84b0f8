"""Entries of the catalogue: those that come with the operator, and those that an installation adds.

An installation's own are one YAML file with `models` and `accelerators`, which the chart makes of
its value `catalog`. They are laid over the built-in ones, name by name.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class EntryError(Exception):
    """An entry of the catalogue can't be used; the text says which, where and why."""


class Entry(BaseModel):
    """What all entries have in common: camelCase in YAML, nothing unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=True
    )


class Own(Entry):
    """The entries that an installation adds, by name."""

    models: dict[str, dict[str, Any]] = {}
    accelerators: dict[str, dict[str, Any]] = {}


_own = Own()

Kind = TypeVar("Kind", bound=Entry)


def built_in(name: str) -> dict[str, Any]:
    """One of the YAML files beside this module."""
    text = resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def own() -> Own:
    """What the installation has added; nothing before `add`."""
    return _own


def add(path: Path) -> None:
    """Take an installation's own entries in; once, before the catalogue is used.

    Raises:
        EntryError: The file can't be read or is no catalogue.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise EntryError(f"{path} can't be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise EntryError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    take(content, str(path))


def take(content: Any, where: str) -> None:
    """Take an installation's own entries in, as `add` does.

    Args:
        content: `models` and `accelerators`.
        where: They were read, for what is said of mistakes.

    Raises:
        EntryError: This is no catalogue.
    """
    global _own
    try:
        _own = Own.model_validate(content)
    except ValidationError as error:
        raise EntryError(f"{where}: {_first(error)}.") from error


def entries(section: str, kind: type[Kind], found: Mapping[str, Any]) -> dict[str, Kind]:
    """Entries by name.

    Raises:
        EntryError: One is wrong; says which and why.
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
