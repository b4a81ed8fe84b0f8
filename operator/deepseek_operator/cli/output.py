"""Output of results, for people and for programs."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from deepseek_operator.cli.errors import CommandError

# Width of a table, in characters, where standard output is not a terminal.
WIDE = 200


class Format(StrEnum):
    """Output format of a result."""

    table = "table"
    json = "json"
    yaml = "yaml"


class Manifests(StrEnum):
    """Output format of manifests."""

    yaml = "yaml"
    json = "json"


class _Dumper(yaml.SafeDumper):
    """A YAML dumper without aliases that writes multi-line strings as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(*results: Any) -> str:
    """Return results as the documents of a YAML file."""
    texts = (yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=100) for item in results)
    return "---\n".join(texts)


def as_json(result: Any) -> str:
    """Return a result as JSON."""
    return json.dumps(result, indent=2) + "\n"


def written(result: Any, output: Format) -> str:
    """Return a result as JSON or YAML."""
    return as_json(result) if output is Format.json else as_yaml(result)


def write(text: str) -> None:
    """Write text to standard output without adding a newline."""
    typer.echo(text, nl=False)


def save(file: Path, text: str) -> None:
    """Write a file, overwriting its contents.

    Raises:
        CommandError: The file can't be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}.") from error


def clear() -> None:
    """Clear the screen if standard output is a terminal."""
    Console().clear()


def warn(text: str) -> None:
    """Write a message to standard error."""
    typer.echo(text, err=True)


def listed(rows: list[dict[str, Any]], output: Format, note: str = "") -> None:
    """Write rows in the given format; a row may lack some columns.

    Args:
        rows: Values by column name.
        output: The format.
        note: Text below the table; not written as JSON or YAML.
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
    """Return a table without borders, suitable for cut and grep."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def show(table: Table) -> None:
    """Write a table in the width of the terminal, or `WIDE` where there is none."""
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
