"""Incremental parser of answers that contain markers.

A reader is written as if the whole text were available: read up to this marker, then up to that one.
It is a generator, so it pauses where the text received so far ends. Text that could become a marker
is held back until more text decides.
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
    """A piece of the reasoning before the answer."""

    text: str


@dataclass(slots=True)
class Call:
    """The start of a tool call: the function's name."""

    name: str


@dataclass(slots=True)
class Arguments:
    """A piece of the arguments of the latest call, as JSON text."""

    text: str


Piece: TypeAlias = Text | Thought | Call | Arguments
# Yields None when it needs more text.
Reading: TypeAlias = Generator[Piece | None, None, Result]


class Source:
    """Buffer of the text received but not yet read."""

    def __init__(self) -> None:
        self._held = ""
        self._ended = False

    def give(self, text: str) -> None:
        """Append text."""
        self._held += text

    def end(self) -> None:
        """Mark the text as complete."""
        self._ended = True

    def upto(
        self, make: Callable[[str], Piece], *markers: str, text_may_end: bool = False
    ) -> Reading[str]:
        """Yield the text before the first of some markers as it arrives.

        Args:
            make: turns text into a piece.
            markers: the markers to find.
            text_may_end: whether the text may end without a marker. If so, the start of a marker at
                the very end is text; otherwise it is a truncated marker and dropped.

        Returns:
            The marker, which is dropped; empty if the text ended without one.
        """
        while True:
            at, marker = self._first(markers, half=not (self._ended and text_may_end))
            if before := self._take(at, len(marker)):
                yield make(before)
            if marker or self._ended:
                return marker
            yield None

    def whole(self, *markers: str) -> Reading[tuple[str, str]]:
        """Return the text before the first of some markers, whole, and the marker as in `upto`."""
        while True:
            at, marker = self._first(markers)
            if marker or self._ended:
                return self._take(at, len(marker)), marker
            yield None

    def skip(self, characters: str) -> Reading[None]:
        """Drop leading characters that are in a set."""
        while True:
            self._held = self._held.lstrip(characters)
            if self._held or self._ended:
                return
            yield None

    def opens(self, marker: str) -> Reading[bool]:
        """Return whether a marker comes next, after white space; drop both if so."""
        while True:
            text = self._held.lstrip()
            if text.startswith(marker):
                self._held = text[len(marker) :]
                return True
            if self._ended or not marker.startswith(text):
                return False
            yield None

    def match(self, pattern: re.Pattern[str], unless: str) -> Reading[re.Match[str] | None]:
        """Return and drop the match of a pattern at this position; None if there can be none.

        Args:
            pattern: the pattern to match.
            unless: text that follows every match.
        """
        while True:
            if found := pattern.match(self._held):
                self._take(found.end())
                return found
            if self._ended or unless in self._held:
                return None
            yield None

    def json_value(self, make: Callable[[str], Piece]) -> Reading[None]:
        """Yield a JSON object or list as it arrives, up to its closing bracket."""
        nesting = _Nesting()
        while True:
            end = nesting.end(self._held)
            if value := self._take(len(self._held) if end is None else end):
                yield make(value)
            if end is not None or self._ended:
                return
            yield None

    def _first(self, markers: tuple[str, ...], *, half: bool = False) -> tuple[int, str]:
        """Return position and text of the first marker; the end and an empty text if there is none.

        Args:
            markers: the markers to find.
            half: whether to exclude the start of a marker at the end of the text.
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
    """Return a pattern for the first of some markers (group 1), or the start of one at the end."""
    begun = {marker[:length] for marker in markers for length in range(1, len(marker))}
    whole, half = (
        "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
        for texts in (markers, begun)
    )
    return re.compile(rf"({whole})|(?:{half})\Z")


class _Nesting:
    """Bracket depth of a JSON value."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def end(self, text: str) -> int | None:
        """Return where the value ends within the next text; None if it does not."""
        for at, letter in enumerate(text):
            if self._quoted:
                self._quoted = letter != '"' or self._escaped
                self._escaped = letter == "\\" and not self._escaped
            elif letter == '"':
                self._quoted = True
            elif letter == "<":  # not JSON outside quotes: the value was cut off before a marker
                return at
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
        return None


class Parser:
    """Runs a reader over text that arrives in pieces.

    Args:
        read: the reader; text that it leaves unread is dropped.
    """

    def __init__(self, read: Callable[[Source], Reading[None]]) -> None:
        self._source = Source()
        self._reading = read(self._source)

    def push(self, text: str) -> list[Piece]:
        """Add text and return the pieces that it completes."""
        self._source.give(text)
        return self._pieces()

    def finish(self) -> list[Piece]:
        """End the text and return the pieces that were held back."""
        self._source.end()
        return self._pieces()

    def _pieces(self) -> list[Piece]:
        pieces: list[Piece] = []
        for piece in self._reading:
            if piece is None:
                break
            pieces.append(piece)
        return pieces
