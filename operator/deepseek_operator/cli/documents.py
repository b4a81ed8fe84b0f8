"""Input files of commands, in YAML or JSON."""

import sys
from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.cli.errors import CommandError


def documents(path: Path) -> list[Any]:
    """Return the non-empty documents of a file, `-` for standard input.

    Raises:
        CommandError: The file can't be read, or is not YAML.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return [found for found in yaml.safe_load_all(text) if found is not None]
    except OSError as error:
        raise CommandError(f"{name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} can't be read: it is not UTF-8.") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{name} is not YAML: {' '.join(str(error).split())}.") from error


def mapping(path: Path) -> dict[str, Any]:
    """Return the only document of a file, which must be a mapping.

    Raises:
        CommandError: The file can't be read, has several documents, or holds no mapping.
    """
    found = documents(path) or [{}]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise CommandError(f"{path} must contain exactly one YAML document, a mapping.")
    return found[0]
