"""Pictures as places and paths, which templates write as SVG; what they say stands in a table too."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_operator.cli.html.axes import Axis, around, axis, short

# The frame of a picture of lines, whose template is 520 by 300.
LEFT, RIGHT, TOP, BOTTOM = 58, 506, 14, 250
# How many colours there are; a further series begins anew, with another dash.
COLOURS = 6


@dataclass(frozen=True)
class Table:
    """What a picture says, in words.

    Attributes:
        heads: Of the columns.
        rows: As they are written.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Part:
    """A part of a bar.

    Attributes:
        name: Of it.
        size: As it is written.
        share: Of the whole, between 0 and 1.
        start: Where it begins, in percent.
        colour: Number of its colour; the last part is free, and has a colour of its own.
    """

    name: str
    size: str
    share: float
    start: float
    colour: int | str


@dataclass(frozen=True)
class Mark:
    """A value beside an axis, and where."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line of a picture.

    Attributes:
        name: Of it.
        colour: Number of its colour.
        path: Of SVG.
        dots: Where its values are.
        whiskers: Of each dot its place, and the ends of its error bar.
        dash: Whether it shares its colour with another one.
    """

    name: str
    colour: int
    path: str
    dots: Sequence[tuple[float, float]] = ()
    whiskers: Sequence[tuple[float, float, float]] = ()
    dash: bool = False


@dataclass(frozen=True)
class Lines:
    """A picture of lines."""

    title: str
    describes: str
    across: str
    up: str
    lines: Sequence[Line]
    marks_across: Sequence[Mark]
    marks_up: Sequence[Mark]
    table: Table
    rings: Sequence[tuple[float, float]] = ()
    here: float | None = None


@dataclass(frozen=True)
class Series:
    """Values to draw.

    Attributes:
        name: Of them.
        points: Pairs of values.
        errors: Of each point how far it may be off, up and down.
        steps: Whether a value holds until the next one.
    """

    name: str
    points: Sequence[tuple[float, float]]
    errors: Sequence[float] = ()
    steps: bool = False


@dataclass(frozen=True)
class Words:
    """What stands around a picture."""

    title: str
    describes: str
    across: str
    up: str


def parts(sizes: Sequence[tuple[str, float, str]]) -> list[Part]:
    """The parts of a bar, from names, sizes and what is written of them; the last is what is free."""
    whole = sum(max(size, 0) for _, size, _ in sizes) or 1
    found, start = [], 0.0
    for colour, (name, size, text) in enumerate(sizes):
        share = max(size, 0) / whole
        named = colour if colour < len(sizes) - 1 else "free"
        found.append(Part(name, text, share, round(100 * start, 2), named))
        start += share
    return found


def lines(
    words: Words,
    series: Sequence[Series],
    table: Table,
    *,
    log: tuple[bool, bool] = (False, False),
    rings: Sequence[tuple[float, float]] = (),
    here: float | None = None,
) -> Lines:
    """A picture of lines.

    Args:
        words: What stands around it.
        series: What is drawn; with a point at least.
        table: The same in words.
        log: Whether the axis across and the one up are logarithmic.
        rings: Values to point at.
        here: A value of the axis across to point at.
    """
    across = axis([x for each in series for x, _ in each.points], LEFT, RIGHT, log[0])
    ends = [end for each in series for end in _ends(each)]
    up = axis([*around(ends), *ends] if log[1] else ends, BOTTOM, TOP, log[1])
    return Lines(
        **vars(words),
        lines=[_line(each, number, across, up) for number, each in enumerate(series)],
        marks_across=[Mark(across.place(value), short(value)) for value in across.marks()],
        marks_up=[Mark(up.place(value), short(value)) for value in up.marks()],
        table=table,
        rings=[(across.place(x), up.place(y)) for x, y in rings],
        here=None if here is None else across.place(here),
    )


def _ends(series: Series) -> list[float]:
    """The values of a series, with the ends of their error bars."""
    found = [y for _, y in series.points]
    return found + [y + off for (_, y), off in zip(series.points, series.errors, strict=False)]


def _line(series: Series, number: int, across: Axis, up: Axis) -> Line:
    dots = [(across.place(x), up.place(y)) for x, y in series.points]
    path = f"M{dots[0][0]} {dots[0][1]}"
    for x, y in dots[1:]:
        path += f"H{x}V{y}" if series.steps else f"L{x} {y}"
    whiskers = [
        (across.place(x), up.place(max(y - off, up.low)), up.place(y + off))
        for (x, y), off in zip(series.points, series.errors, strict=False)
    ]
    return Line(
        series.name,
        number % COLOURS,
        path,
        dots if series.errors else (),
        whiskers,
        dash=number >= COLOURS,
    )
