"""Results as people and as programs read them."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from deepseek_operator.cli.errors import CommandError

# Columns of a table that nobody looks at in a terminal.
WIDE = 200


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    yaml = "yaml"


class Manifests(StrEnum):
    """How manifests are written."""

    yaml = "yaml"
    json = "json"


class _Dumper(yaml.SafeDumper):
    """Every value where it belongs, and texts of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(*results: Any) -> str:
    """Results as the documents of a YAML file."""
    texts = (yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=100) for item in results)
    return "---\n".join(texts)


def as_json(result: Any) -> str:
    """A result as JSON."""
    return json.dumps(result, indent=2) + "\n"


def written(result: Any, output: Format) -> str:
    """A result as JSON or YAML."""
    return as_json(result) if output is Format.json else as_yaml(result)


def write(text: str) -> None:
    """Write to standard output as it is."""
    typer.echo(text, nl=False)


def save(file: Path, text: str) -> None:
    """Write a file, in place of what it holds.

    Raises:
        CommandError: It can't be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}.") from error


def clear() -> None:
    """Clear the screen, where there is one."""
    Console().clear()


def warn(text: str) -> None:
    """Say something that is not the result."""
    typer.echo(text, err=True)


def listed(rows: list[dict[str, Any]], output: Format, note: str = "") -> None:
    """Write rows that have the same fields, as far as they have them.

    Args:
        rows: By column.
        output: How.
        note: Below the table.
    """
    if output is not Format.table:
        write(as_json(rows) if output is Format.json else as_yaml(rows))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = new_table(*columns)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    show(table)
    if note:
        write(f"{note}\n")


def new_table(*columns: str) -> Table:
    """A table without frames, whose lines can be cut and searched."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def show(table: Table) -> None:
    """Write a table, as wide as a terminal is, or as it has to be where there is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    for line in _lines(console, table):
        write(f"{line.rstrip()}\n")


def _lines(console: Console, table: Table) -> list[str]:
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
