"""What models are asked to do, and how well each was published to do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache

from pydantic import Field

from deepseek_operator.catalog.entries import Entry, built_in, entries
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import Fact


class Table(Fact):
    """Scores that were read in one place, by repository without its organisation."""

    scores: dict[str, float] = Field(min_length=1)


class Entered(Entry):
    """A task as the catalogue has it.

    Attributes:
        benchmark: By which its models are compared.
        about: What that measures.
        note: What to bear in mind.
        figures: Tables; no model is in two of them.
    """

    benchmark: str
    about: str
    note: str = ""
    figures: list[Table] = Field(min_length=1)


@dataclass(frozen=True)
class Figure:
    """How well a model was published to do a task.

    Attributes:
        score: The higher the better, 100 at most.
        source: Where it was read.
        as_of: When.
        weak: Whether that was in a copy.
    """

    score: float
    source: str
    as_of: date
    weak: bool = False


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        figures: By repository.
    """

    name: str
    benchmark: str
    about: str
    note: str
    figures: Mapping[str, Figure]

    @property
    def best(self) -> float:
        """The best score of any model."""
        return max(figure.score for figure in self.figures.values())


@cache
def tasks() -> dict[str, Task]:
    """The catalogue's tasks by name."""
    found = entries("tasks", Entered, built_in("tasks")["tasks"])
    return {name: _task(name, entry) for name, entry in found.items()}


def _task(name: str, entry: Entered) -> Task:
    figures = {
        f"{models().organisation}/{model}": Figure(score, table.source, table.as_of, table.weak)
        for table in entry.figures
        for model, score in table.scores.items()
    }
    return Task(name, entry.benchmark, entry.about, entry.note, figures)
