"""An answer with markers in it, read while it grows.

A reader is written as if the whole text were there: read up to this marker, then up to that one.
It is a generator, so it pauses wherever the text ends for now, and text that could become a marker
is held back until it is known whether it does.
"""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, TypeVar

Result = TypeVar("Result")


@dataclass(slots=True)
class Text:
    """A piece of the answer itself."""

    text: str


@dataclass(slots=True)
class Thought:
    """A piece of the reasoning before it."""

    text: str


@dataclass(slots=True)
class Call:
    """The beginning of a tool call: the function's name."""

    name: str


@dataclass(slots=True)
class Arguments:
    """A piece of the arguments of the latest call, as JSON text."""

    text: str


Piece: TypeAlias = Text | Thought | Call | Arguments
# None: the rest of the text has to come first.
Reading: TypeAlias = Generator[Piece | None, None, Result]


class Source:
    """Text that comes in pieces, of which the part that nobody has read is held."""

    def __init__(self) -> None:
        self._held = ""
        self._ended = False

    def give(self, text: str) -> None:
        """More text."""
        self._held += text

    def end(self) -> None:
        """No more will come."""
        self._ended = True

    def upto(
        self, make: Callable[[str], Piece], *markers: str, text_may_end: bool = False
    ) -> Reading[str]:
        """Pass on the text before the first of some markers, as it comes.

        Args:
            make: turns text into a piece.
            markers: what is looked for.
            text_may_end: no marker has to come, so the beginning of one at the very end is text;
                otherwise it is what is left of a marker that was cut off.

        Returns:
            The marker, which is dropped; empty if the text ended before one.
        """
        while True:
            at, marker = self._first(markers, half=not (self._ended and text_may_end))
            if before := self._take(at, len(marker)):
                yield make(before)
            if marker or self._ended:
                return marker
            yield None

    def whole(self, *markers: str) -> Reading[tuple[str, str]]:
        """The text before the first of some markers, in one piece, and the marker as in `upto`."""
        while True:
            at, marker = self._first(markers)
            if marker or self._ended:
                return self._take(at, len(marker)), marker
            yield None

    def skip(self, characters: str) -> Reading[None]:
        """Drop all of some characters that come next."""
        while True:
            self._held = self._held.lstrip(characters)
            if self._held or self._ended:
                return
            yield None

    def opens(self, marker: str) -> Reading[bool]:
        """Whether the text goes on with a marker, after white space; drops both if so."""
        while True:
            text = self._held.lstrip()
            if text.startswith(marker):
                self._held = text[len(marker) :]
                return True
            if self._ended or not marker.startswith(text):
                return False
            yield None

    def match(self, pattern: re.Pattern[str], unless: str) -> Reading[re.Match[str] | None]:
        """The match of a pattern at this place, which is dropped; None once it cannot come.

        Args:
            pattern: what is looked for.
            unless: a text that comes after every match.
        """
        while True:
            if found := pattern.match(self._held):
                self._take(found.end())
                return found
            if self._ended or unless in self._held:
                return None
            yield None

    def json_value(self, make: Callable[[str], Piece]) -> Reading[None]:
        """Pass on an object or list, as it comes, up to its closing bracket."""
        nesting = _Nesting()
        while True:
            end = nesting.end(self._held)
            if value := self._take(len(self._held) if end is None else end):
                yield make(value)
            if end is not None or self._ended:
                return
            yield None

    def _first(self, markers: tuple[str, ...], *, half: bool = False) -> tuple[int, str]:
        """Where the first marker is, and which; behind the text and empty if there is none.

        Args:
            markers: what is looked for.
            half: what could become a marker at the end of the text is not part of the text.
        """
        found = _pattern(markers).search(self._held) if markers else None
        if found is None or not (found[1] or half):
            return len(self._held), ""
        return found.start(), found[1] or ""

    def _take(self, length: int, dropped: int = 0) -> str:
        taken, self._held = self._held[:length], self._held[length + dropped :]
        return taken


@cache
def _pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the first of some markers (as group 1), or the beginning of one at the very end."""
    begun = {marker[:length] for marker in markers for length in range(1, len(marker))}
    whole, half = (
        "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
        for texts in (markers, begun)
    )
    return re.compile(rf"({whole})|(?:{half})\Z")


class _Nesting:
    """Follows the brackets of a JSON value."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def end(self, text: str) -> int | None:
        """Where the value ends within the text that comes next, if it does."""
        for at, letter in enumerate(text):
            if self._quoted:
                self._quoted = letter != '"' or self._escaped
                self._escaped = letter == "\\" and not self._escaped
            elif letter == '"':
                self._quoted = True
            elif letter == "<":  # in no JSON outside quotes: the value broke off before a marker
                return at
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
        return None


class Parser:
    """Runs a reader over a growing text.

    Args:
        read: the reader; what it leaves unread is dropped.
    """

    def __init__(self, read: Callable[[Source], Reading[None]]) -> None:
        self._source = Source()
        self._reading = read(self._source)

    def push(self, text: str) -> list[Piece]:
        """What is certain now and was not before."""
        self._source.give(text)
        return self._pieces()

    def finish(self) -> list[Piece]:
        """What was held back until the end."""
        self._source.end()
        return self._pieces()

    def _pieces(self) -> list[Piece]:
        pieces: list[Piece] = []
        for piece in self._reading:
            if piece is None:
                break
            pieces.append(piece)
        return pieces
