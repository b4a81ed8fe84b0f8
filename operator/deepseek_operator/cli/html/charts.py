"""Charts as coordinates and paths, which templates write as SVG, each with a table of its values."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_operator.cli.html.axes import Axis, around, axis, short

# The plot area of a line chart, whose template is 520 by 300.
LEFT, RIGHT, TOP, BOTTOM = 58, 506, 14, 250
# Number of colours; further series reuse them with dashed lines.
COLOURS = 6


@dataclass(frozen=True)
class Table:
    """The values of a chart as a table.

    Attributes:
        heads: Column headings.
        rows: Formatted cells.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Part:
    """A segment of a stacked bar.

    Attributes:
        name: Its label.
        size: Its formatted size.
        share: Share of the whole, between 0 and 1.
        start: Start position in percent.
        colour: Index of its colour; "free" for the last segment.
    """

    name: str
    size: str
    share: float
    start: float
    colour: int | str


@dataclass(frozen=True)
class Mark:
    """A tick of an axis: coordinate and label."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line of a line chart.

    Attributes:
        name: Its label.
        colour: Index of its colour.
        path: SVG path data.
        dots: Coordinates of its values.
        whiskers: Per dot its x coordinate and the ends of its error bar.
        dash: True if the line is dashed because another one has the same colour.
    """

    name: str
    colour: int
    path: str
    dots: Sequence[tuple[float, float]] = ()
    whiskers: Sequence[tuple[float, float, float]] = ()
    dash: bool = False


@dataclass(frozen=True)
class Lines:
    """A line chart.

    Attributes:
        title: Heading.
        describes: Summary in one or two sentences.
        across: Label of the x axis.
        up: Label of the y axis.
        lines: The lines.
        marks_across: Ticks of the x axis.
        marks_up: Ticks of the y axis.
        table: The values.
        rings: Coordinates of highlighted points.
        here: x coordinate of a highlighted value; None for none.
    """

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
    """The data of a line.

    Attributes:
        name: Its label.
        points: Pairs of x and y values.
        errors: Symmetric error of each point.
        steps: True for a step function.
    """

    name: str
    points: Sequence[tuple[float, float]]
    errors: Sequence[float] = ()
    steps: bool = False


@dataclass(frozen=True)
class Captions:
    """The texts of a chart, as in `Lines`."""

    title: str
    describes: str
    across: str
    up: str


def parts(sizes: Sequence[tuple[str, float, str]]) -> list[Part]:
    """Return the segments of a stacked bar from names, sizes and size labels; the last one is free space."""
    whole = sum(max(size, 0) for _, size, _ in sizes) or 1
    found, start = [], 0.0
    for colour, (name, size, text) in enumerate(sizes):
        share = max(size, 0) / whole
        named = colour if colour < len(sizes) - 1 else "free"
        found.append(Part(name, text, share, round(100 * start, 2), named))
        start += share
    return found


def lines(
    caption: Captions,
    series: Sequence[Series],
    table: Table,
    *,
    log: tuple[bool, bool] = (False, False),
    rings: Sequence[tuple[float, float]] = (),
    here: float | None = None,
) -> Lines:
    """Return a line chart.

    Args:
        caption: Its texts.
        series: The data; at least one point each.
        table: The values as a table.
        log: Logarithmic scale of the x axis and of the y axis.
        rings: Points to highlight, as values.
        here: x value to highlight.
    """
    across = axis([x for each in series for x, _ in each.points], LEFT, RIGHT, log[0])
    ends = [end for each in series for end in _ends(each)]
    up = axis([*around(ends), *ends] if log[1] else ends, BOTTOM, TOP, log[1])
    return Lines(
        **vars(caption),
        lines=[_line(each, number, across, up) for number, each in enumerate(series)],
        marks_across=[Mark(across.place(value), short(value)) for value in across.marks()],
        marks_up=[Mark(up.place(value), short(value)) for value in up.marks()],
        table=table,
        rings=[(across.place(x), up.place(y)) for x, y in rings],
        here=None if here is None else across.place(here),
    )


def _ends(series: Series) -> list[float]:
    """Return the y values of a series and the upper ends of their error bars."""
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
