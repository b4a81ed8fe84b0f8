"""Cost of running a model: on cloud machines, on own machines, or as a hosted API.

All amounts are US dollars. Outdated, weak and assumed figures are marked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Literal

from deepseek_operator.advisor.workload import MONTH, Load
from deepseek_operator.catalog.prices import Fact, Hardware, Hosted, InstanceOffer, Prices

# Marks the cost of own machines without wages, which differ more than machines do.
UNSTAFFED = "without people"
GONE = "not sold any more"

Terms = Literal["on demand", "reserved", "spot", "owned", "hosted"]


@dataclass(frozen=True)
class Pods:
    """The pods to place.

    Attributes:
        profile: GPU profile.
        gpus: GPUs of each pod.
        count: Pods of all replicas.
    """

    profile: str
    gpus: int
    count: int

    def machines(self, gpus: int) -> int:
        """Return the machines of `gpus` GPUs that they need; 0 if a pod is larger than a machine."""
        each = gpus // self.gpus
        return ceil(self.count / each) if each else 0


@dataclass(frozen=True)
class Offer:
    """One offer.

    Attributes:
        where: Cloud and region, provider, or `own`.
        what: Machines and terms, as text.
        machines: Number of machines.
        per_hour: Cost per running hour.
        doubts: Reasons why the figure is unreliable.
    """

    terms: Terms
    where: str
    what: str
    machines: int
    per_hour: float
    doubts: tuple[str, ...] = ()

    def per_month(self, share: float = 1.0) -> float:
        """Return the cost of a month with the machines running for a share of the time."""
        return self.per_hour * MONTH * share


def per_million(per_month: float, tokens_per_month: float) -> float | None:
    """Return the cost per million tokens, None without tokens."""
    return 1e6 * per_month / tokens_per_month if tokens_per_month else None


def rented(prices: Prices, pods: Pods, today: date) -> list[Offer]:
    """Return the cheapest machines of each cloud, by terms."""
    cheapest: dict[tuple[str, str, str], Offer] = {}
    for instance in prices.of(pods.profile):
        number = pods.machines(instance.gpus)
        for offer in _of_instance(prices, instance, number, today) if number else ():
            key = (offer.terms, offer.where, offer.what.partition(": ")[2])
            if key not in cheapest or offer.per_hour < cheapest[key].per_hour:
                cheapest[key] = offer
    return sorted(cheapest.values(), key=lambda offer: offer.per_hour)


def _of_instance(
    prices: Prices, instance: InstanceOffer, number: int, today: date
) -> Iterator[Offer]:
    where, what = f"{instance.cloud} {instance.region}", f"{number} x {instance.name}"
    doubts = doubts_about(prices, instance, today)
    yield Offer("on demand", where, what, number, number * instance.per_hour, doubts)
    for item in prices.committed(instance.cloud):
        price = number * instance.per_hour * (1 - item.saves)
        both = tuple(dict.fromkeys((*doubts, *doubts_about(prices, item, today))))
        yield Offer("reserved", where, f"{what}: {item.name}", number, price, both)
    if instance.spot and instance.spot_per_hour:
        old = prices.stale(instance.spot_as_of or instance.as_of, today)
        doubts = tuple(dict.fromkeys((*doubts, *(["stale"] if old else []))))
        note = f", {instance.spot.interrupted} interrupted in a month"
        what += note if instance.spot.interrupted else ""
        yield Offer("spot", where, what, number, number * instance.spot_per_hour, doubts)


def owned(prices: Prices, pods: Pods, today: date, people: float | None = None) -> list[Offer]:
    """Return the cost of own machines with depreciation, power and staff; cheapest first.

    Args:
        prices: All prices.
        pods: The pods to place.
        today: The date that decides whether prices are outdated.
        people: Dollars per month for their staff; None: from the prices.
    """
    found = [
        _bought(prices, hardware, pods.machines(hardware.gpus), today, people)
        for hardware in prices.hardware
        if hardware.profile == pods.profile and pods.machines(hardware.gpus)
    ]
    return sorted(found, key=lambda offer: offer.per_hour)


def _bought(
    prices: Prices, hardware: Hardware, number: int, today: date, people: float | None
) -> Offer:
    running = prices.running
    staff = running.people.value if people is None else people
    written_off = hardware.price * max(1 - running.residual.value, 0)
    power = hardware.kilowatts * running.overhead.value * running.kilowatt_hour.value
    months = max(running.years.value, 1 / 12) * 12
    each = written_off / months + running.room.value + power * MONTH
    facts: tuple[Fact, ...] = (hardware, running.years, running.residual, running.kilowatt_hour)
    doubts = dict.fromkeys(doubt for fact in facts for doubt in doubts_about(prices, fact, today))
    if not staff:
        doubts[UNSTAFFED] = None
    per_hour = (number * each + staff) / MONTH
    what = f"{number} x {hardware.name}"
    return Offer("owned", "own", what, number, per_hour, tuple(doubts))


def per_request(hosted: Hosted, load: Load, cached: float, peak: float = 0.0) -> float:
    """Return the cost of a request to a hosted API.

    Args:
        hosted: The hosted API.
        load: The load, which has the tokens of a request.
        cached: Share of the prompt tokens that it has cached.
        peak: Share of the requests in its peak hours.
    """

    def one(input_: float, hit: float, output: float) -> float:
        prompt = load.input * (cached * hit + (1 - cached) * input_)
        return (prompt + load.output * output) / 1e6

    quiet = one(hosted.input, hosted.cached, hosted.output)
    busy = hosted.peak
    if busy is None:
        return quiet
    return (1 - peak) * quiet + peak * one(busy.input, busy.cached, busy.output)


def as_service(
    prices: Prices, model_id: str, load: Load, today: date, cached: float = 0.0, peak: float = 0.0
) -> list[Offer]:
    """Return the cost of a model as a hosted API under a load, cheapest first."""
    found = []
    for hosted in prices.as_service(model_id):
        per_month = load.requests_per_month * per_request(hosted, load, cached, peak)
        doubts = doubts_about(prices, hosted, today) + (() if hosted.sold else (GONE,))
        note = hosted.note or ", ".join(hosted.models)
        found.append(Offer("hosted", hosted.provider, note, 0, per_month / MONTH, doubts))
    return sorted(found, key=lambda offer: offer.per_hour)


def doubts_about(prices: Prices, fact: Fact, today: date) -> tuple[str, ...]:
    """Return the reasons why a figure is unreliable."""
    doubts: list[tuple[str, Callable[[], bool]]] = [
        ("stale", lambda: prices.stale(fact.as_of, today)),
        ("weak", lambda: fact.weak),
        ("assumed", lambda: fact.assumed),
    ]
    return tuple(doubt for doubt, holds in doubts if holds())
