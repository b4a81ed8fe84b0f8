"""Proposal for a resource before anything is created: fit, size, speed, cost and warnings."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from deepseek_operator.advisor.cost import Offer, Pods, as_service, owned, per_million, rented
from deepseek_operator.advisor.performance import Prediction, Speed
from deepseek_operator.advisor.workload import MONTH, Load
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.plan.desired.desired_state import DesiredState
from deepseek_operator.plan.state.observed import Observed

# Concurrent requests of the predictions, as far as they fit.
AT_ONCE = (1, 8, 32, 128, 256)


@dataclass(frozen=True)
class Proposal:
    """The forecast for a resource before anything is created.

    Attributes:
        desired: The desired state.
        load: The load for the costs; without requests, the capacity of the replicas.
        predictions: Predictions by concurrent requests, empty if the speed is unknown.
        capacity: Maximum requests per second of all replicas, None if unknown.
        offers: Offers for the minimum of replicas, cheapest first; with a load also hosted APIs.
        most: Offers for the maximum of replicas, if it differs from the minimum.
        warnings: Sentences.
    """

    desired: DesiredState
    load: Load
    predictions: tuple[Prediction, ...]
    capacity: float | None
    offers: tuple[Offer, ...]
    most: tuple[Offer, ...]
    warnings: tuple[str, ...]

    @property
    def replicas(self) -> tuple[int, int]:
        """Minimum and maximum of replicas."""
        scaling = self.desired.scaling
        if scaling is None:
            return self.desired.replicas, self.desired.replicas
        return scaling.min_replicas, scaling.max_replicas

    @property
    def tokens_per_month(self) -> float:
        """Output tokens per month, for the cost per token."""
        if self.load.requests:
            return self.load.output_per_month
        return (self.capacity or 0) * self.load.output * 3600 * MONTH

    def per_million(self, offer: Offer) -> float | None:
        """Return the cost of a million output tokens."""
        return per_million(offer.per_month(), self.tokens_per_month)


def propose(
    desired: DesiredState,
    observed: Observed,
    load: Load,
    prices: Prices,
    today: date,
    people: float | None = None,
) -> Proposal:
    """Return the proposal for a desired state.

    Args:
        desired: The desired state.
        observed: The cluster.
        load: The expected load; 0 requests: the capacity of the replicas.
        prices: All prices.
        today: The date that decides whether prices are outdated.
        people: Dollars per month for the staff of own machines.
    """
    predictions = _predictions(desired, load)
    scaling = desired.scaling
    few, many = (scaling.min_replicas, scaling.max_replicas) if scaling else (desired.replicas,) * 2
    best = max((item.requests(load.output) for item in predictions), default=None)
    own = offers(desired, few, prices, today, people)
    others = as_service(prices, desired.model_id, load, today) if own and load.requests else []
    found = Proposal(
        desired,
        load,
        predictions,
        best * few if best is not None else None,
        tuple(sorted((*own, *others), key=lambda offer: offer.per_hour)),
        offers(desired, many, prices, today, people) if many != few else (),
        (),
    )
    warnings = [*_of_cluster(desired, observed), *_of_speed(found, best, many), *_of_cost(found)]
    return Proposal(**{**vars(found), "warnings": tuple(warnings)})


def arithmetic(desired: DesiredState) -> dict[str, Any]:
    """Return the memory use on each GPU in bytes; empty if unknown."""
    memory = desired.sizing.memory
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


def _predictions(desired: DesiredState, load: Load) -> tuple[Prediction, ...]:
    memory, gpus = desired.sizing.memory, desired.gpus
    if memory is None or gpus is None or gpus.profile is None:
        return ()
    speed = Speed(memory, gpus.profile)
    split = desired.sizing.split
    if not speed.known or desired.pods > 1 or split.data > 1 or split.expert:
        return ()
    most = memory.requests(load.input + load.output)
    counts = sorted({min(number, most) for number in AT_ONCE} - {0})
    return tuple(speed.at(count, load.input, load.output) for count in counts)


def offers(
    desired: DesiredState, replicas: int, prices: Prices, today: date, people: float | None
) -> tuple[Offer, ...]:
    """Return the offers for a number of replicas, cheapest first; none without known prices."""
    gpus = desired.gpus
    if gpus is None or gpus.profile is None or not replicas:
        return ()
    pods = Pods(gpus.profile, gpus.count, replicas * desired.pods)
    found = [*rented(prices, pods, today), *owned(prices, pods, today, people)]
    return tuple(sorted(found, key=lambda offer: offer.per_hour))


def _of_cluster(desired: DesiredState, observed: Observed) -> list[str]:
    warnings = []
    gpus, sizing = desired.gpus, desired.sizing
    if sizing.note:
        warnings.append(sizing.note)
    if gpus is None:
        warnings.append("It runs on the CPU: whether a node has enough memory was not checked.")
    elif observed.nodes and not any(gpus.fit(node) for node in observed.nodes):
        warnings.append(f"No node has {gpus}: pods would stay pending.")
    if desired.routing and desired.routing.error:
        warnings.append(desired.routing.error.message)
    if desired.replicas == 1 and desired.scaling is None and gpus:
        warnings.append(
            "With a single replica a rollout interrupts the service, unless a GPU is free for the new "
            "replica."
        )
    if (
        desired.routing
        and desired.routing.route
        and not (desired.authorization.keys or desired.authorization.token)
    ):
        warnings.append("All clients that reach the gateway can send requests: see spec.security.")
    return warnings


def _of_speed(found: Proposal, best: float | None, replicas: int) -> list[str]:
    desired, load = found.desired, found.load
    if not replicas:
        return []
    if best is None:
        return ["No speed prediction: there are no measurements of similar configurations."]
    warnings = []
    if desired.engine != "transformers":
        warnings.append(
            f"The speed is predicted for the bundled server; {desired.engine} differs from it."
        )
    if load.requests and load.peak > best * replicas:
        warnings.append(
            f"A peak of {load.peak:g} requests/s exceeds the {best * replicas:.3g} requests/s of "
            f"{replicas} replica(s): {-(-load.peak // best):.0f} are needed."
        )
    return warnings


def _of_cost(found: Proposal) -> list[str]:
    desired, offers = found.desired, found.offers
    if not found.replicas[1]:
        return ["replicas is 0: nothing runs and nothing is charged."]
    if desired.gpus and not offers:
        kind = desired.gpus.profile or "GPUs of any kind"
        return [f"Cost unknown: the catalogue has no price for {kind}."]
    descriptions = {
        "stale": "outdated",
        "weak": "from a weak source",
        "assumed": "assumed",
    }
    doubts = [
        descriptions[name] for name in descriptions if any(name in offer.doubts for offer in offers)
    ]
    return [f"Some prices are {', '.join(doubts)}: set yours with --prices."] if doubts else []
