"""What it costs to run a model: on a cloud's machines, on one's own, or as somebody's service.

All amounts are US dollars. A figure that is old, weak or nobody's says so.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Literal

from deepseek_operator.advisor.workload import MONTH, Load
from deepseek_operator.catalog.prices import Fact, Hardware, Hosted, Machine, Prices

# What one's own machines cost beside wages, which differ more than machines do.
UNSTAFFED = "without people"
GONE = "not sold any more"

Terms = Literal["on demand", "reserved", "spot", "owned", "hosted"]


@dataclass(frozen=True)
class Pods:
    """What is to be placed.

    Attributes:
        profile: Kind of GPU.
        gpus: Of each pod.
        count: Pods of all replicas.
    """

    profile: str
    gpus: int
    count: int

    def machines(self, gpus: int) -> int:
        """How many machines with so many GPUs they take; 0 where a pod is larger than a machine."""
        each = gpus // self.gpus
        return ceil(self.count / each) if each else 0


@dataclass(frozen=True)
class Offer:
    """One way to pay.

    Attributes:
        where: Cloud and region, or what is bought.
        what: Machines and terms, in words.
        machines: How many.
        per_hour: While they run.
        doubts: Why the figure is not to be relied on.
    """

    terms: Terms
    where: str
    what: str
    machines: int
    per_hour: float
    doubts: tuple[str, ...] = ()

    def per_month(self, share: float = 1.0) -> float:
        """Of a month in which they run for a share of the time."""
        return self.per_hour * MONTH * share


def per_million(per_month: float, tokens_per_month: float) -> float | None:
    """Of a million tokens, None where there are none."""
    return 1e6 * per_month / tokens_per_month if tokens_per_month else None


def rented(prices: Prices, pods: Pods, today: date) -> list[Offer]:
    """The cheapest machines of each cloud, by terms."""
    cheapest: dict[tuple[str, str, str], Offer] = {}
    for machine in prices.of(pods.profile):
        number = pods.machines(machine.gpus)
        for offer in _of_machine(prices, machine, number, today) if number else ():
            key = (offer.terms, offer.where, offer.what.partition(": ")[2])
            if key not in cheapest or offer.per_hour < cheapest[key].per_hour:
                cheapest[key] = offer
    return sorted(cheapest.values(), key=lambda offer: offer.per_hour)


def _of_machine(prices: Prices, machine: Machine, number: int, today: date) -> Iterator[Offer]:
    where, what = f"{machine.cloud} {machine.region}", f"{number} x {machine.name}"
    doubts = said(prices, machine, today)
    yield Offer("on demand", where, what, number, number * machine.per_hour, doubts)
    for item in prices.committed(machine.cloud):
        price = number * machine.per_hour * (1 - item.saves)
        both = tuple(dict.fromkeys((*doubts, *said(prices, item, today))))
        yield Offer("reserved", where, f"{what}: {item.name}", number, price, both)
    if machine.spot and machine.spot_per_hour:
        old = prices.stale(machine.spot_as_of or machine.as_of, today)
        doubts = tuple(dict.fromkeys((*doubts, *(["stale"] if old else []))))
        note = f", {machine.spot.interrupted} interrupted in a month"
        what += note if machine.spot.interrupted else ""
        yield Offer("spot", where, what, number, number * machine.spot_per_hour, doubts)


def owned(prices: Prices, pods: Pods, today: date, people: float | None = None) -> list[Offer]:
    """What machines of one's own cost, written off, powered and looked after; cheapest first.

    Args:
        prices: All prices.
        pods: What is to be placed.
        today: The day by which they are old or not.
        people: Those who run them, by month; None: as the prices say.
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
    doubts = dict.fromkeys(word for fact in facts for word in said(prices, fact, today))
    if not staff:
        doubts[UNSTAFFED] = None
    per_hour = (number * each + staff) / MONTH
    what = f"{number} x {hardware.name}"
    return Offer("owned", "own", what, number, per_hour, tuple(doubts))


def per_request(hosted: Hosted, load: Load, cached: float, peak: float = 0.0) -> float:
    """What a request costs as a service.

    Args:
        hosted: The service.
        load: Of which a request is one.
        cached: Share of the prompts' tokens that are cached there.
        peak: Share of the requests in its busy hours.
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
    """What a model costs as a service under a load, cheapest first."""
    found = []
    for hosted in prices.as_service(model_id):
        per_month = load.requests_per_month * per_request(hosted, load, cached, peak)
        doubts = said(prices, hosted, today) + (() if hosted.sold else (GONE,))
        note = hosted.note or ", ".join(hosted.models)
        found.append(Offer("hosted", hosted.provider, note, 0, per_month / MONTH, doubts))
    return sorted(found, key=lambda offer: offer.per_hour)


def said(prices: Prices, fact: Fact, today: date) -> tuple[str, ...]:
    """What speaks against a figure."""
    doubts: list[tuple[str, Callable[[], bool]]] = [
        ("stale", lambda: prices.stale(fact.as_of, today)),
        ("weak", lambda: fact.weak),
        ("assumed", lambda: fact.assumed),
    ]
    return tuple(word for word, holds in doubts if holds())
