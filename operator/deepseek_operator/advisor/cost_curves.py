"""Cost curves over a growing load: by the terms for one resource, and by the options for a model.

Machines are added in steps, a hosted API is paid by request; where two curves cross, the cheaper option
changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from math import ceil

from deepseek_operator.advisor.cost import GONE, Offer, as_service
from deepseek_operator.advisor.options import Option, chosen, options
from deepseek_operator.advisor.proposal import Proposal, offers
from deepseek_operator.advisor.provisioning import Requirements
from deepseek_operator.catalog.prices import Prices

# Minimum and maximum replicas in a plot.
FEW, MANY = 6, 12
# Range of a comparison as a factor of its load in both directions, and its number of loads.
FAR, LOADS = 30.0, 41


@dataclass(frozen=True)
class Curve:
    """The cost over the load, with replicas added as they fill up.

    Attributes:
        way: Terms as in `Offer`.
        what: The cheapest offer for the first replica, as text.
        carries: Requests per second of a replica.
        per_hour: Dollars per hour by number of replicas, starting with one.
        each: Cost of a request of a hosted API, which has no replicas.
    """

    way: str
    what: str
    carries: float
    per_hour: tuple[float, ...] = ()
    each: float = 0.0

    def at(self, requests: float) -> float:
        """Return the dollars per hour for requests per second, up to the capacity of all replicas."""
        if not self.per_hour:
            return 3600 * requests * self.each
        return self.per_hour[max(ceil(requests / self.carries - 1e-9), 1) - 1]


def curves(
    found: Proposal, prices: Prices, today: date, people: float | None = None
) -> list[Curve]:
    """Return a curve for each of the terms, cheapest first; none if speed or prices are unknown.

    Args:
        found: The proposal for a resource.
        prices: All prices.
        today: The date that decides whether prices are outdated.
        people: Dollars per month for the staff of own machines.
    """
    best = max((item.requests(found.load.output) for item in found.predictions), default=0.0)
    if not best:
        return []
    by_way: dict[str, list[Offer]] = {}
    for number in range(1, replicas(found) + 1):
        cheapest: dict[str, Offer] = {}
        for offer in offers(found.desired, number, prices, today, people):
            cheapest.setdefault(offer.terms, offer)
        for terms, offer in cheapest.items():
            by_way.setdefault(terms, []).append(offer)
    drawn = [
        Curve(way, _label(of[0]), best, tuple(offer.per_hour for offer in of))
        for way, of in by_way.items()
    ]
    # A hosted API is only drawn for comparison with replicas.
    others = _service(found, prices, today, best) if drawn else []
    return sorted([*drawn, *others], key=lambda each: each.at(best))


def _service(found: Proposal, prices: Prices, today: date, best: float) -> list[Curve]:
    """Return the curve of the cheapest hosted API."""
    load = replace(found.load, requests=best, hours=24.0)
    sold = [
        offer
        for offer in as_service(prices, found.desired.model_id, load, today)
        if GONE not in offer.doubts
    ]
    if not sold:
        return []
    first = sold[0]
    return [Curve(first.terms, _label(first), best, each=first.per_hour / 3600 / best)]


def _label(offer: Offer) -> str:
    return f"{offer.where}: {offer.what}"


def replicas(found: Proposal) -> int:
    """Return the number of replicas in a plot."""
    return min(max(FEW, found.replicas[1]), MANY)


@dataclass(frozen=True)
class Compared:
    """The options to run a model under one load.

    Attributes:
        requests: Average requests per second.
        ways: The cheapest option of each kind.
    """

    requests: float
    ways: Sequence[Option]

    @property
    def cheapest(self) -> Option | None:
        """The cheapest option without caveats."""
        return chosen(self.ways)


@dataclass(frozen=True)
class Turn:
    """A load at which the cheapest option changes.

    Attributes:
        requests: Average requests per second.
        before: The kind that is cheapest below.
        after: The kind that is cheapest from there on.
        per_month: Its cost at this load.
    """

    requests: float
    before: str
    after: str
    per_month: float


def by_load(requirements: Requirements, prices: Prices, today: date) -> list[Compared]:
    """Return the options under loads around the given one, ascending."""
    loads = [
        requirements.load.requests * FAR ** (2 * step / (LOADS - 1) - 1) for step in range(LOADS)
    ]
    return [
        Compared(
            rate,
            options(
                replace(requirements, load=replace(requirements.load, requests=rate)), prices, today
            ),
        )
        for rate in loads
    ]


def turns(compared: Sequence[Compared]) -> list[Turn]:
    """Return the loads at which the cheapest option changes, to the resolution of the comparison."""
    found = []
    for before, after in pairwise(compared):
        first, second = before.cheapest, after.cheapest
        if first and second and first.way != second.way:
            found.append(Turn(after.requests, first.way, second.way, second.per_month))
    return found
