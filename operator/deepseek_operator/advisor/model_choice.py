"""Which model to take for a task: the cheapest way of those that do it well enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from deepseek_operator.advisor.options import Option, chosen, options
from deepseek_operator.advisor.provisioning import Wish, context_of
from deepseek_operator.catalog.models import models
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.catalog.tasks import Figure, Task

# What of the best published score a model has to reach where nobody says how much.
SHARE = 0.8


@dataclass(frozen=True)
class Candidate:
    """A model for a task.

    Attributes:
        model_id: Which.
        figure: How well it does the task.
        ways: Of running it, cheapest first; none where it does the task too badly.
        against: Why it is not the one, empty for the one that is.
    """

    model_id: str
    figure: Figure
    ways: Sequence[Option] = ()
    against: str = ""

    @property
    def way(self) -> Option | None:
        """The cheapest against which nothing speaks."""
        return chosen(self.ways)


def least_of(task: Task, asked: float | None) -> float:
    """The score that a model has to reach."""
    return SHARE * task.best if asked is None else asked


def candidates(
    task: Task, wish: Wish, prices: Prices, today: date, least: float
) -> list[Candidate]:
    """The models of a task: what can be taken, cheapest first, then the others, best first.

    Args:
        task: What is to be done.
        wish: The load and what is to be kept to; its model is of no matter.
        prices: All prices.
        today: The day by which they are old or not.
        least: Score that a model has to reach.
    """
    found = [
        _candidate(task, name, replace(wish, model_id=name), prices, today, least)
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
    task: Task, name: str, wish: Wish, prices: Prices, today: date, least: float
) -> Candidate:
    figure = task.figures[name]
    if figure.score < least:
        return Candidate(
            name, figure, against=f"{task.benchmark} {figure.score:g} is below {least:.3g}"
        )
    ways = options(wish, prices, today)
    return Candidate(name, figure, ways, "" if chosen(ways) else _why(wish, ways))


def _why(wish: Wish, ways: Sequence[Option]) -> str:
    """Why a model can't be run so."""
    if ways:
        return "; ".join(f"{option.way}: {option.against}" for option in ways)
    model = models().get(wish.model_id)
    if model is not None and context_of(wish.load, model) is None:
        longest = wish.load.input + wish.load.output
        return f"{longest:,} tokens are more than its {model.shape.context:,}"
    return "no kind of GPU with a price holds it within the latency"


def _cost(candidate: Candidate) -> tuple[float, float]:
    """By cost, and of two that cost the same the better first."""
    assert candidate.way is not None  # noqa: S101 - those without were sorted out
    return candidate.way.per_month, -candidate.figure.score


def _dearer(candidate: Candidate, cheapest: Candidate) -> str:
    more = _cost(candidate)[0] - _cost(cheapest)[0]
    return f"{more:,.0f} more a month" if more >= 1 else "costs the same, and is no better"
