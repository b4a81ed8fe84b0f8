"""What machines, hosted models and hardware cost: data with an age and a source.

All amounts are US dollars.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from pydantic import Field, ValidationError, model_validator

from deepseek_operator.catalog.entries import Entry, EntryError, built_in


class Fact(Entry):
    """A figure that was read somewhere.

    Attributes:
        as_of: When.
        source: Where.
        weak: Whether its order of magnitude alone is to be trusted.
        assumed: Whether it is nobody's figure.
    """

    as_of: date
    source: str = Field(min_length=1)
    weak: bool = False
    assumed: bool = False


class Spot(Entry):
    """The price of a machine that may be taken away.

    Attributes:
        per_hour: A price.
        saves: In its place the share by which it is cheaper.
        interrupted: How many were, in a month; in words.
    """

    per_hour: float | None = Field(default=None, gt=0)
    saves: float | None = Field(default=None, ge=0, lt=1)
    interrupted: str = ""

    @model_validator(mode="after")
    def _one(self) -> "Spot":
        if (self.per_hour is None) == (self.saves is None):
            raise ValueError("write either perHour or saves")
        return self


class Machine(Fact):
    """A machine of a cloud.

    Attributes:
        profile: Kind of its GPUs.
        per_hour: On demand.
        spot_as_of: When its spot price was read, None: with the other.
    """

    cloud: str
    region: str
    name: str
    profile: str
    gpus: int = Field(gt=0)
    per_hour: float = Field(gt=0)
    spot: Spot | None = None
    spot_as_of: date | None = None
    spot_source: str = ""

    @property
    def spot_per_hour(self) -> float | None:
        """Its price as spot, None where nobody has told."""
        if self.spot is None:
            return None
        if self.spot.per_hour is not None:
            return self.spot.per_hour
        return self.per_hour * (1 - (self.spot.saves or 0))


class Commitment(Fact):
    """Hours that are promised for years.

    Attributes:
        saves: The share by which they are cheaper.
    """

    cloud: str
    name: str
    saves: float = Field(ge=0, lt=1)


class Tokens(Entry):
    """Prices of a million tokens: of a prompt that was cached, of any other, of an answer."""

    cached: float = Field(ge=0)
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Hosted(Fact, Tokens):
    """A model as a service.

    Attributes:
        models: Repositories that it serves, without their organisation.
        note: What its provider calls it, and when its prices hold.
        peak: Prices in its busy hours, None: they are the same.
        sold: Whether one can still have it.
    """

    provider: str
    models: list[str] = Field(min_length=1)
    note: str = ""
    peak: Tokens | None = None
    sold: bool = True


class Hardware(Fact):
    """A machine that one buys.

    Attributes:
        kilowatts: Power that it draws at most.
    """

    name: str
    profile: str
    gpus: int = Field(gt=0)
    price: float = Field(ge=0)
    kilowatts: float = Field(ge=0)


class Amount(Fact):
    """One number."""

    value: float = Field(ge=0)


class Running(Entry):
    """What a machine of one's own takes beside its price.

    Attributes:
        years: After which it is written off.
        residual: Share of its price that it is worth then.
        kilowatt_hour: Price of a kilowatt-hour.
        overhead: Power of the building for each watt of the machine.
        room: Room and network, by month and machine.
        people: Those who run it, by month, whatever the number of machines.
    """

    years: Amount
    residual: Amount
    kilowatt_hour: Amount
    overhead: Amount
    room: Amount
    people: Amount


@dataclass(frozen=True)
class Prices:
    """All prices."""

    machines: tuple[Machine, ...]
    commitments: tuple[Commitment, ...]
    hosted: tuple[Hosted, ...]
    hardware: tuple[Hardware, ...]
    running: Running
    stale_days: int

    def stale(self, as_of: date, today: date) -> bool:
        """Whether what was read then is too old to be relied on."""
        return (today - as_of).days > self.stale_days

    def of(self, profile: str) -> list[Machine]:
        """The machines with a kind of GPU."""
        return [machine for machine in self.machines if machine.profile == profile]

    def committed(self, cloud: str) -> list[Commitment]:
        """The commitments of a cloud."""
        return [item for item in self.commitments if item.cloud == cloud]

    def as_service(self, model_id: str) -> list[Hosted]:
        """Who serves a model."""
        name = model_id.rpartition("/")[2].lower()
        return [item for item in self.hosted if name in map(str.lower, item.models)]


def prices(own: Mapping[str, Any] | None = None, where: str = "--prices") -> Prices:
    """The catalogue's prices, somebody's own among them.

    Args:
        own: Content of a file like prices.yaml; an entry of the same name takes the other's place.
        where: It was read, for what is said of mistakes.

    Raises:
        EntryError: An entry is wrong.
    """
    data, ours = _built_in(), dict(own or {})
    if unknown := set(ours) - set(data):
        raise EntryError(f"{where}: {sorted(unknown)[0]} is none of {', '.join(data)}.")
    try:
        return Prices(
            tuple(_over(_machines, data, ours, "offers", ("cloud", "region", "name"))),
            tuple(_over(_each(Commitment), data, ours, "commitments", ("cloud", "name"))),
            tuple(_over(_each(Hosted), data, ours, "hosted", ("provider", "models"))),
            tuple(_over(_each(Hardware), data, ours, "hardware", ("name",))),
            Running.model_validate({**data["running"], **ours.get("running", {})}),
            int(ours.get("staleDays", data["staleDays"])),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise EntryError(f"{where}: {error.title}: {place}: {problem['msg']}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EntryError(f"{where}: {error}: catalog/prices.yaml shows the fields.") from error


@cache
def _built_in() -> dict[str, Any]:
    return built_in("prices")


def _over(
    made: Any, data: Mapping[str, Any], own: Mapping[str, Any], section: str, key: tuple[str, ...]
) -> list[Any]:
    """Entries of a section by what names them, somebody's own over the others."""
    found: dict[str, Any] = {}
    for entry in [*made(data[section]), *made(own.get(section, []))]:
        found[str([getattr(entry, name) for name in key])] = entry
    return list(found.values())


def _each(kind: type[Entry]) -> Any:
    return lambda items: [kind.model_validate(item) for item in items]


def _machines(offers: list[dict[str, Any]]) -> list[Machine]:
    return [
        Machine.model_validate({**{k: v for k, v in offer.items() if k != "machines"}, **machine})
        for offer in offers
        for machine in offer["machines"]
    ]
