"""Files that commands are given: YAML, of which JSON is a part."""

import sys
from pathlib import Path
from typing import Any

import yaml

from deepseek_operator.cli.errors import CommandError


def documents(path: Path) -> list[Any]:
    """The documents of a file, `-` for standard input, without empty ones.

    Raises:
        CommandError: It can't be read, or is no YAML.
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
    """The one document of a file, which has fields.

    Raises:
        CommandError: It is nothing of the kind.
    """
    found = documents(path) or [{}]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise CommandError(f"{path} must hold one YAML document with fields.")
    return found[0]
