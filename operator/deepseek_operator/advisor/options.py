"""Options to run a model: one machine, an own cluster, a cloud, or a hosted API.

The replicas for the peak load (advisor/provisioning.py) are priced at all terms. The result has the cheapest
option of each kind, with the caveats that rule it out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from deepseek_operator.advisor.cost import GONE, Offer, Pods, as_service, owned, per_million, rented
from deepseek_operator.advisor.provisioning import FULL, Requirements, Shape, shapes
from deepseek_operator.advisor.workload import Load
from deepseek_operator.api.section import API_VERSION, KIND
from deepseek_operator.catalog.prices import Prices
from deepseek_operator.plan.sizing.fit import LEAST_CONTEXT

# Maximum replicas of a resource.
MOST = 1000
# Kinds of options, in display order.
MACHINE, CLUSTER = "one machine", "own cluster"
DEMAND, RESERVED, SPOT, HOURS = "on demand", "reserved", "spot mix", "scaled to zero"
SPOT_ALONE = "spot alone"
HOSTED = "hosted API"
OWN = (MACHINE, CLUSTER)


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        way: Its kind.
        per_month: Cost in dollars per month.
        shape: Its replicas, None for a hosted API.
        against: Caveats that rule it out, empty if there are none.
    """

    way: str
    where: str
    what: str
    per_month: float
    doubts: tuple[str, ...]
    shape: Shape | None = None
    against: str = ""


def options(requirements: Requirements, prices: Prices, today: date) -> list[Option]:
    """Return the cheapest option of each kind, cheapest first, ruled-out ones last."""
    found = [
        option
        for shape in shapes(requirements)
        for option in _of_shape(requirements, shape, prices, today)
    ]
    load = requirements.load
    services = as_service(
        prices, requirements.model_id, load, today, requirements.cached, requirements.busy
    )
    found += [_option(HOSTED, offer, offer.per_month(), None) for offer in services]
    judged = [replace(option, against=_against(requirements, option)) for option in found]
    best: dict[str, Option] = {}
    for option in sorted(judged, key=_order):
        best.setdefault(option.way, option)
    return sorted(best.values(), key=_order)


def chosen(found: Sequence[Option]) -> Option | None:
    """Return the cheapest option without caveats."""
    return next((option for option in found if not option.against), None)


def _order(option: Option) -> tuple[bool, float]:
    return bool(option.against), option.per_month


def _of_shape(
    requirements: Requirements, shape: Shape, prices: Prices, today: date
) -> Iterator[Option]:
    peak = Pods(shape.profile, shape.gpus, shape.peak)
    for offer in owned(prices, peak, today, requirements.people):
        way = MACHINE if offer.machines == 1 else CLUSTER
        yield _option(way, offer, offer.per_month(), shape)
    rents = rented(prices, peak, today)
    base = rented(prices, replace(peak, count=shape.mean), today)
    for offer in rents:
        if offer.terms == "reserved":
            yield _option(RESERVED, offer, offer.per_month(), shape)
        if offer.terms == "on demand":
            yield _option(DEMAND, offer, offer.per_month(), shape)
            yield _option(HOURS, offer, offer.per_month(requirements.load.share), shape)
            spot = [more for more in rents if more.terms == "spot" and more.where == offer.where]
            always = [
                more for more in base if (more.terms, more.where) == ("on demand", offer.where)
            ]
            if spot:
                share = requirements.load.share
                yield _option(SPOT_ALONE, spot[0], spot[0].per_month(share), shape)
            if spot and always and shape.peak > shape.mean:
                yield _mixed(always[0], spot[0], shape, requirements.load)


def _mixed(always: Offer, spot: Offer, shape: Shape, load: Load) -> Option:
    """Return the mix of on-demand machines for the average load and spot machines for the peak."""
    more = shape.peak - shape.mean
    per_month = always.per_month() + spot.per_month(load.share) * more / shape.peak
    what = f"{always.what}, and {more} of {shape.peak} replicas on spot: {spot.what}"
    doubts = tuple(dict.fromkeys((*always.doubts, *spot.doubts)))
    return Option(SPOT, always.where, what, per_month, doubts, shape)


def _option(way: str, offer: Offer, per_month: float, shape: Shape | None) -> Option:
    return Option(way, offer.where, offer.what, per_month, offer.doubts, shape)


def _against(requirements: Requirements, option: Option) -> str:
    caveats = []
    if requirements.data == "on-premises" and option.way not in OWN:
        caveats.append("data must stay on premises")
    if requirements.data == "hybrid" and option.way == HOSTED:
        caveats.append("data must stay on own or cloud machines")
    if requirements.data == "cloud" and option.way in OWN:
        caveats.append("data must be in a cloud")
    if option.way == SPOT_ALONE and not requirements.interruptible:
        caveats.append("all machines may be reclaimed at once")
    if GONE in option.doubts:
        caveats.append(GONE)
    if option.way == HOSTED and (requirements.ttft or requirements.itl):
        caveats.append("no guarantee of latency")
    if requirements.budget is not None and option.per_month > requirements.budget:
        caveats.append(f"above the budget of {requirements.budget:,.0f}")
    if option.shape and option.shape.peak > MOST:
        caveats.append(f"{option.shape.peak:,} replicas exceed the maximum of {MOST:,}")
    if option.way == HOURS and requirements.load.hours >= 24:
        caveats.append("there are requests at all hours")
    return "; ".join(caveats)


@dataclass(frozen=True)
class BreakEven:
    """The load at which two options cost the same.

    Attributes:
        first: Cheaper above it.
        second: Cheaper below it.
        requests: Average requests per second, in the same hours.
    """

    first: str
    second: str
    requests: float


def break_even(found: Sequence[Option], load: Load) -> list[BreakEven]:
    """Return the loads above which running the model is cheaper than a hosted API.

    The number of machines is fixed, so this is valid only up to their capacity.
    """
    hosted = next((option for option in found if option.way == HOSTED), None)
    if hosted is None or GONE in hosted.doubts or not load.requests or not hosted.per_month:
        return []
    each = hosted.per_month / load.requests
    return [
        BreakEven(option.way, HOSTED, option.per_month / each)
        for option in found
        if option.shape is not None
    ]


def hours_of_break_even(found: Sequence[Option]) -> float | None:
    """Return the hours per day above which own machines are cheaper than on demand; None: never."""
    own = min((o.per_month for o in found if o.way in OWN), default=None)
    rent = min((o.per_month for o in found if o.way == DEMAND), default=None)
    if own is None or rent is None or own > rent:
        return None
    return 24 * own / rent


def token_price(option: Option, load: Load) -> float | None:
    """Return the dollars per million output tokens at the load."""
    return per_million(option.per_month, load.output_per_month)


def resource(option: Option, requirements: Requirements, name: str) -> dict[str, object]:
    """Return the resource for an option, with autoscaling unless its machines are fixed.

    Raises:
        ValueError: The option is a hosted API, which needs no resource.
    """
    shape = option.shape
    if shape is None:
        raise ValueError("a hosted API needs no resource")
    longest = requirements.load.input + requirements.load.output
    context = {"maxContext": longest} if longest > LEAST_CONTEXT else {}
    spec: dict[str, object] = {
        "model": {"id": requirements.model_id, **context},
        "accelerator": {"profile": shape.profile, "count": shape.gpus},
    }
    if shape.mean == shape.peak or option.way in (*OWN, RESERVED):
        spec["replicas"] = shape.peak
    else:
        target = {"requestsPerReplica": max(1, int(shape.at.at_once * FULL))}
        spec["scaling"] = {"minReplicas": shape.mean, "maxReplicas": shape.peak, "target": target}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
