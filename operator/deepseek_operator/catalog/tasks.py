"""Catalogue of tasks, with published benchmark scores of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache

from pydantic import Field

from deepseek_operator.catalog.entries import Entry, built_in, entries
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import Fact


class Table(Fact):
    """Scores of one source, by repository without the organisation."""

    scores: dict[str, float] = Field(min_length=1)


class Entered(Entry):
    """Task entry of the catalogue.

    Attributes:
        benchmark: Benchmark that compares models.
        about: Description of the benchmark.
        note: Limitations of the comparison.
        figures: Tables of scores; no model is in two of them.
    """

    benchmark: str
    about: str
    note: str = ""
    figures: list[Table] = Field(min_length=1)


@dataclass(frozen=True)
class Figure:
    """Published score of a model.

    Attributes:
        score: Score from 0 to 100, higher is better.
        source: Source of the score.
        as_of: Date at which it was read.
        weak: Whether it was read in a copy of the source.
    """

    score: float
    source: str
    as_of: date
    weak: bool = False


@dataclass(frozen=True)
class Task:
    """Task with the scores of models.

    Attributes:
        figures: Scores by repository.
    """

    name: str
    benchmark: str
    about: str
    note: str
    figures: Mapping[str, Figure]

    @property
    def best(self) -> float:
        """Best score of any model."""
        return max(figure.score for figure in self.figures.values())


@cache
def tasks() -> dict[str, Task]:
    """Return the catalogue's tasks by name."""
    found = entries("tasks", Entered, built_in("tasks")["tasks"])
    return {name: _task(name, entry) for name, entry in found.items()}


def _task(name: str, entry: Entered) -> Task:
    figures = {
        f"{models().organisation}/{model}": Figure(score, table.source, table.as_of, table.weak)
        for table in entry.figures
        for model, score in table.scores.items()
    }
    return Task(name, entry.benchmark, entry.about, entry.note, figures)
