"""What a resource comes to, before anything is created: fit, shape, speed, cost, and what to think of."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from deepseek_operator.advisor.cost import Offer, Pods, as_service, owned, per_million, rented
from deepseek_operator.advisor.performance import Prediction, Speed
from deepseek_operator.advisor.workload import MONTH, Load
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.plan.desired.desired_state import Target
from deepseek_operator.plan.state.observed import Observed

# How many requests at once speed is told of, as far as so many fit.
AT_ONCE = (1, 8, 32, 128, 256)


@dataclass(frozen=True)
class Proposal:
    """What is known before anything is created.

    Attributes:
        target: What shall be.
        load: That costs are told for; `requests` None: as much as the replicas can do.
        predictions: By requests at once, none where nothing is known of the speed.
        capacity: Requests in a second that all replicas do at most, None where that is not known.
        offers: Ways to pay for the fewest replicas, cheapest first; for a load a hosted API's, too.
        most: The same for as many replicas as there may be, where that is another number.
        warnings: Sentences.
    """

    target: Target
    load: Load
    predictions: tuple[Prediction, ...]
    capacity: float | None
    offers: tuple[Offer, ...]
    most: tuple[Offer, ...]
    warnings: tuple[str, ...]

    @property
    def replicas(self) -> tuple[int, int]:
        """The fewest and the most that there may be."""
        scaling = self.target.scaling
        if scaling is None:
            return self.target.replicas, self.target.replicas
        return scaling.min_replicas, scaling.max_replicas

    @property
    def tokens_per_month(self) -> float:
        """Output tokens that a month's costs are shared among."""
        if self.load.requests:
            return self.load.output_per_month
        return (self.capacity or 0) * self.load.output * 3600 * MONTH

    def per_million(self, offer: Offer) -> float | None:
        """What a million output tokens cost."""
        return per_million(offer.per_month(), self.tokens_per_month)


def propose(
    target: Target,
    observed: Observed,
    load: Load,
    prices: Prices,
    today: date,
    people: float | None = None,
) -> Proposal:
    """What a target comes to.

    Args:
        target: What shall be.
        observed: The cluster that it would be in.
        load: That it is to carry; with 0 requests as much as it can.
        prices: All prices.
        today: The day by which they are old or not.
        people: Those who run machines of one's own, by month.
    """
    predictions = _predictions(target, load)
    scaling = target.scaling
    few, many = (scaling.min_replicas, scaling.max_replicas) if scaling else (target.replicas,) * 2
    best = max((item.requests(load.output) for item in predictions), default=None)
    own = offers(target, few, prices, today, people)
    others = as_service(prices, target.model_id, load, today) if own and load.requests else []
    found = Proposal(
        target,
        load,
        predictions,
        best * few if best is not None else None,
        tuple(sorted((*own, *others), key=lambda offer: offer.per_hour)),
        offers(target, many, prices, today, people) if many != few else (),
        (),
    )
    warnings = [*_of_cluster(target, observed), *_of_speed(found, best, many), *_of_cost(found)]
    return Proposal(**{**vars(found), "warnings": tuple(warnings)})


def arithmetic(target: Target) -> dict[str, Any]:
    """How the model lies in each GPU, in bytes; empty where that is not known."""
    memory = target.sizing.memory
    if memory is None:
        return {}
    used = memory.reserved + memory.weights + memory.steps + memory.cache
    return {
        "total": memory.total,
        "reserved": memory.reserved,
        "weights": memory.weights,
        "steps": memory.steps,
        "cache": memory.cache,
        "rest": memory.total - used,
    }


def _predictions(target: Target, load: Load) -> tuple[Prediction, ...]:
    memory, gpus = target.sizing.memory, target.gpus
    if memory is None or gpus is None or gpus.profile is None:
        return ()
    speed = Speed(memory, gpus.profile)
    split = target.sizing.split
    if not speed.known or target.pods > 1 or split.data > 1 or split.expert:
        return ()
    most = memory.requests(load.input + load.output)
    counts = sorted({min(number, most) for number in AT_ONCE} - {0})
    return tuple(speed.at(count, load.input, load.output) for count in counts)


def offers(
    target: Target, replicas: int, prices: Prices, today: date, people: float | None
) -> tuple[Offer, ...]:
    """Ways to pay for so many replicas, cheapest first; none where no price is known."""
    gpus = target.gpus
    if gpus is None or gpus.profile is None or not replicas:
        return ()
    pods = Pods(gpus.profile, gpus.count, replicas * target.pods)
    found = [*rented(prices, pods, today), *owned(prices, pods, today, people)]
    return tuple(sorted(found, key=lambda offer: offer.per_hour))


def _of_cluster(target: Target, observed: Observed) -> list[str]:
    said = []
    gpus, sizing = target.gpus, target.sizing
    if sizing.note:
        said.append(sizing.note)
    if gpus is None:
        said.append("It runs on the CPU: whether a node has enough memory was not checked.")
    elif observed.nodes and not any(gpus.fit(node) for node in observed.nodes):
        said.append(f"None of the nodes has {gpus}: its pods would wait for one.")
    if target.ways and target.ways.lack:
        said.append(target.ways.lack.message)
    if target.replicas == 1 and target.scaling is None and gpus:
        said.append(
            "It is one replica: while it is replaced nobody serves, unless a GPU is free for its "
            "successor."
        )
    if target.ways and target.ways.route and not (target.trust.keys or target.trust.token):
        said.append("Everybody who reaches the gateway may ask it: see spec.security.")
    return said


def _of_speed(found: Proposal, best: float | None, replicas: int) -> list[str]:
    target, load = found.target, found.load
    if not replicas:
        return []
    if best is None:
        return ["Its speed is not predicted: nobody has measured anything like it."]
    said = []
    if target.engine != "transformers":
        said.append(f"The speed is that of the bundled server; {target.engine} differs from it.")
    if load.requests and load.peak > best * replicas:
        said.append(
            f"A peak of {load.peak:g} requests/s is more than {replicas} replica(s) do, which is "
            f"{best * replicas:.3g}: it takes {-(-load.peak // best):.0f}."
        )
    return said


def _of_cost(found: Proposal) -> list[str]:
    target, ways = found.target, found.offers
    if not found.replicas[1]:
        return ["It asks for no replicas: nothing runs, and nothing is paid."]
    if target.gpus and not ways:
        kind = target.gpus.profile or "GPUs of any kind"
        return [f"What it costs is not known: there is no price of {kind} in the catalogue."]
    words = {
        "stale": "older than the catalogue trusts",
        "weak": "of a weak source",
        "assumed": "assumed",
    }
    doubts = [words[name] for name in words if any(name in offer.doubts for offer in ways)]
    return [f"Some prices are {', '.join(doubts)}: --prices takes yours."] if doubts else []
