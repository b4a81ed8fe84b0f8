"""What a load costs as it grows: by the ways to pay for one resource, and by the ways to run a model.

Machines come in steps, a service is paid by the request; where the lines cross, another way is cheaper.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from math import ceil

from deepseek_operator.advisor.cost import GONE, Offer, as_service
from deepseek_operator.advisor.options import Option, chosen, options
from deepseek_operator.advisor.proposal import Proposal, offers
from deepseek_operator.advisor.provisioning import Wish
from deepseek_operator.catalog.prices import Prices

# As many replicas as a picture is of, at least and at most.
FEW, MANY = 6, 12
# How far a comparison looks beside its load, and how many loads it looks at.
FAR, LOADS = 30.0, 41


@dataclass(frozen=True)
class Curve:
    """What loads cost with replicas that are added as they fill.

    Attributes:
        way: How they are paid: terms as in `Offer`.
        what: The cheapest of that way for the first replica, in words.
        carries: Requests in a second that a replica does.
        per_hour: Dollars of an hour by the number of replicas, of one first.
        each: In place of all that what a request costs.
    """

    way: str
    what: str
    carries: float
    per_hour: tuple[float, ...] = ()
    each: float = 0.0

    def at(self, requests: float) -> float:
        """Dollars of an hour under so many requests in a second, as far as there are replicas."""
        if not self.per_hour:
            return 3600 * requests * self.each
        return self.per_hour[max(ceil(requests / self.carries - 1e-9), 1) - 1]


def curves(
    found: Proposal, prices: Prices, today: date, people: float | None = None
) -> list[Curve]:
    """A curve for each way to pay, cheapest first; none where speed or prices are not known.

    Args:
        found: What a resource comes to.
        prices: All prices.
        today: The day by which they are old or not.
        people: Those who run machines of one's own, by month.
    """
    best = max((item.requests(found.load.output) for item in found.predictions), default=0.0)
    if not best:
        return []
    by_way: dict[str, list[Offer]] = {}
    for number in range(1, replicas(found) + 1):
        cheapest: dict[str, Offer] = {}
        for offer in offers(found.target, number, prices, today, people):
            cheapest.setdefault(offer.terms, offer)
        for terms, offer in cheapest.items():
            by_way.setdefault(terms, []).append(offer)
    drawn = [
        Curve(way, _words(of[0]), best, tuple(offer.per_hour for offer in of))
        for way, of in by_way.items()
    ]
    # A service alone has no replicas to add.
    others = _service(found, prices, today, best) if drawn else []
    return sorted([*drawn, *others], key=lambda each: each.at(best))


def _service(found: Proposal, prices: Prices, today: date, best: float) -> list[Curve]:
    """What the cheapest service takes for as many requests as a replica does."""
    load = replace(found.load, requests=best, hours=24.0)
    sold = [
        offer
        for offer in as_service(prices, found.target.model_id, load, today)
        if GONE not in offer.doubts
    ]
    if not sold:
        return []
    first = sold[0]
    return [Curve(first.terms, _words(first), best, each=first.per_hour / 3600 / best)]


def _words(offer: Offer) -> str:
    return f"{offer.where}: {offer.what}"


def replicas(found: Proposal) -> int:
    """How many replicas a picture is of."""
    return min(max(FEW, found.replicas[1]), MANY)


@dataclass(frozen=True)
class Compared:
    """The ways to run a model under one load.

    Attributes:
        requests: In a second on average.
        ways: Of each way the cheapest.
    """

    requests: float
    ways: Sequence[Option]

    @property
    def cheapest(self) -> Option | None:
        """The one to choose."""
        return chosen(self.ways)


@dataclass(frozen=True)
class Turn:
    """Where another way becomes the cheapest.

    Attributes:
        requests: In a second on average, up to which the one before was.
        before: That way.
        after: The other one.
        per_month: What it costs there.
    """

    requests: float
    before: str
    after: str
    per_month: float


def by_load(wish: Wish, prices: Prices, today: date) -> list[Compared]:
    """The ways under loads around the one that is asked for, ascending."""
    loads = [wish.load.requests * FAR ** (2 * step / (LOADS - 1) - 1) for step in range(LOADS)]
    return [
        Compared(
            rate, options(replace(wish, load=replace(wish.load, requests=rate)), prices, today)
        )
        for rate in loads
    ]


def turns(compared: Sequence[Compared]) -> list[Turn]:
    """Where another way becomes the cheapest, to the next load that was looked at."""
    found = []
    for before, after in pairwise(compared):
        first, second = before.cheapest, after.cheapest
        if first and second and first.way != second.way:
            found.append(Turn(after.requests, first.way, second.way, second.per_month))
    return found
