"""Model selection for a task: the cheapest option among models with a sufficient score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from deepseek_operator.advisor.options import Option, chosen, options
from deepseek_operator.advisor.provisioning import Requirements, context_of
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.catalog.tasks import Figure, Task

# Default minimum score, as a share of the best published one.
SHARE = 0.8


@dataclass(frozen=True)
class Candidate:
    """A model for a task.

    Attributes:
        model_id: Id of the model.
        figure: Its score for the task.
        ways: Options to run it, cheapest first; empty if its score is too low.
        against: Why it is not chosen, empty for the chosen one.
    """

    model_id: str
    figure: Figure
    ways: Sequence[Option] = ()
    against: str = ""

    @property
    def way(self) -> Option | None:
        """The cheapest option without caveats."""
        return chosen(self.ways)


def least_of(task: Task, asked: float | None) -> float:
    """Return the minimum score of a model."""
    return SHARE * task.best if asked is None else asked


def candidates(
    task: Task, requirements: Requirements, prices: Prices, today: date, least: float
) -> list[Candidate]:
    """Return the models of a task: suitable ones, cheapest first, then the others, best first.

    Args:
        task: The task.
        requirements: The load and the requirements; its model is ignored.
        prices: All prices.
        today: The date that decides whether prices are outdated.
        least: Minimum score of a model.
    """
    found = [
        _candidate(task, name, replace(requirements, model_id=name), prices, today, least)
        for name in task.figures
    ]
    free = sorted((each for each in found if each.way), key=_cost)
    others = sorted((each for each in found if not each.way), key=lambda each: -each.figure.score)
    return [
        *free[:1],
        *(replace(each, against=_dearer(each, free[0])) for each in free[1:]),
        *others,
    ]


def _candidate(
    task: Task, name: str, requirements: Requirements, prices: Prices, today: date, least: float
) -> Candidate:
    figure = task.figures[name]
    if figure.score < least:
        return Candidate(
            name, figure, against=f"{task.benchmark} {figure.score:g} is below {least:.3g}"
        )
    ways = options(requirements, prices, today)
    return Candidate(name, figure, ways, "" if chosen(ways) else _why(requirements, ways))


def _why(requirements: Requirements, ways: Sequence[Option]) -> str:
    """Return why no option of a model meets the requirements."""
    if ways:
        return "; ".join(f"{option.way}: {option.against}" for option in ways)
    model = models().get(requirements.model_id)
    if model is not None and context_of(requirements.load, model) is None:
        longest = requirements.load.input + requirements.load.output
        return f"{longest:,} tokens exceed its context length of {model.shape.context:,}"
    return "no GPU profile with a price holds it within the latency limits"


def _cost(candidate: Candidate) -> tuple[float, float]:
    """Return the sort key: cost, then the better score."""
    assert candidate.way is not None  # noqa: S101 - callers pass only candidates with an option
    return candidate.way.per_month, -candidate.figure.score


def _dearer(candidate: Candidate, cheapest: Candidate) -> str:
    more = _cost(candidate)[0] - _cost(cheapest)[0]
    return f"{more:,.0f} more a month" if more >= 1 else "same cost, no better score"
