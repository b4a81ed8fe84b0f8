"""The words of the project, held to the list of words.yaml: `python -m hack.wording`."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

LIST = Path(__file__).with_name("words.yaml")


class Hit(NamedTuple):
    """A word of the list in a line of a file.

    Attributes:
        line: Number of the line, from 1.
        word: The word as it stands in the list.
        instead: What to write.
    """

    line: int
    word: str
    instead: str


class Rules(NamedTuple):
    """The list as patterns.

    Attributes:
        words: Found in any text, whatever the case, as a word or as a part of a name.
        names: Found as a whole name, or as a part of one between underscores.
        skip: Patterns of paths that are not read.
    """

    words: Mapping[str, str]
    names: Mapping[str, str]
    skip: tuple[str, ...]


def rules(path: Path = LIST) -> Rules:
    """Read the list."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Rules(data["words"], data["names"], tuple(data["skip"]))


def hits(text: str, rules: Rules, *, code: bool) -> Iterator[Hit]:
    """Yield the words of the list that a text has.

    Args:
        text: The text of a file.
        rules: The list.
        code: Whether the text is Python, where names are looked for as well.
    """
    words = re.compile("|".join(map(_word, rules.words)))
    names = re.compile(rf"(?<![A-Za-z])({'|'.join(rules.names)})(?![A-Za-z])")
    for number, line in enumerate(text.splitlines(), 1):
        for found in words.findall(line):
            yield Hit(number, found, rules.words[found.lower()])
        for found in names.findall(line) if code else ():
            yield Hit(number, found, rules.names[found])


def _word(word: str) -> str:
    """The pattern of a word in text, in snake_case, in camelCase and in capitals."""
    capital, upper = word.capitalize(), word.upper()
    return rf"(?<![A-Za-z]){word}(?![a-z])|{capital}(?![a-z])|(?<![A-Z]){upper}(?![A-Z])"


def read(paths: Iterable[str], rules: Rules) -> Iterator[tuple[str, str]]:
    """Yield the paths and texts that are checked: UTF-8, and not left out by the list."""
    for path in paths:
        if any(fnmatch.fnmatch(path, pattern) for pattern in rules.skip) or Path(path).is_symlink():
            continue
        try:
            yield path, Path(path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
