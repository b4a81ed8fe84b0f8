"""Prices of cloud machines, hosted models and hardware, each with a date and a source.

All amounts are in US dollars.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from pydantic import Field, ValidationError, model_validator

from deepseek_operator.catalog.entries import Entry, EntryError, built_in


class Fact(Entry):
    """Figure with a source.

    Attributes:
        as_of: Date at which it was read.
        source: Source of the figure.
        weak: Whether only its order of magnitude is reliable.
        assumed: Whether it is an assumption without a source.
    """

    as_of: date
    source: str = Field(min_length=1)
    weak: bool = False
    assumed: bool = False


class Spot(Entry):
    """Spot price of a machine.

    Attributes:
        per_hour: Price per hour.
        saves: Alternatively, the discount on the on-demand price, from 0 to 1.
        interrupted: Human-readable share of machines interrupted in a month.
    """

    per_hour: float | None = Field(default=None, gt=0)
    saves: float | None = Field(default=None, ge=0, lt=1)
    interrupted: str = ""

    @model_validator(mode="after")
    def _one(self) -> "Spot":
        if (self.per_hour is None) == (self.saves is None):
            raise ValueError("write either perHour or saves")
        return self


class InstanceOffer(Fact):
    """Machine type of a cloud.

    Attributes:
        profile: Kind of its GPUs.
        per_hour: On-demand price per hour.
        spot_as_of: Date of the spot price; None: that of the on-demand price.
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
        """Spot price per hour, None if it is not known."""
        if self.spot is None:
            return None
        if self.spot.per_hour is not None:
            return self.spot.per_hour
        return self.per_hour * (1 - (self.spot.saves or 0))


class Commitment(Fact):
    """Committed use of a cloud for one or more years.

    Attributes:
        saves: Discount on the on-demand price, from 0 to 1.
    """

    cloud: str
    name: str
    saves: float = Field(ge=0, lt=1)


class Tokens(Entry):
    """Prices per million tokens: cached input, other input, output."""

    cached: float = Field(ge=0)
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Hosted(Fact, Tokens):
    """Model as a service.

    Attributes:
        models: Repositories that it serves, without the organisation.
        note: Provider's name of the model, and hours of its prices.
        peak: Prices in peak hours; None: the same.
        sold: Whether it is still available.
    """

    provider: str
    models: list[str] = Field(min_length=1)
    note: str = ""
    peak: Tokens | None = None
    sold: bool = True


class Hardware(Fact):
    """Purchased machine.

    Attributes:
        kilowatts: Maximum power, in kW.
    """

    name: str
    profile: str
    gpus: int = Field(gt=0)
    price: float = Field(ge=0)
    kilowatts: float = Field(ge=0)


class Amount(Fact):
    """Single number."""

    value: float = Field(ge=0)


class Running(Entry):
    """Running costs of purchased machines.

    Attributes:
        years: Depreciation period, in years.
        residual: Residual value after it, as a share of the price.
        kilowatt_hour: Price per kilowatt-hour.
        overhead: Power usage effectiveness: watts of the building per watt of the machine.
        room: Colocation and network, per month and machine.
        people: Staff, per month, independent of the number of machines.
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

    machines: tuple[InstanceOffer, ...]
    commitments: tuple[Commitment, ...]
    hosted: tuple[Hosted, ...]
    hardware: tuple[Hardware, ...]
    running: Running
    stale_days: int

    def stale(self, as_of: date, today: date) -> bool:
        """Return whether a figure of that date is too old to rely on."""
        return (today - as_of).days > self.stale_days

    def of(self, profile: str) -> list[InstanceOffer]:
        """Return the machines with a kind of GPU."""
        return [machine for machine in self.machines if machine.profile == profile]

    def committed(self, cloud: str) -> list[Commitment]:
        """Return the commitments of a cloud."""
        return [item for item in self.commitments if item.cloud == cloud]

    def as_service(self, model_id: str) -> list[Hosted]:
        """Return the hosted services of a model."""
        name = model_id.rpartition("/")[2].lower()
        return [item for item in self.hosted if name in map(str.lower, item.models)]


def prices(own: Mapping[str, Any] | None = None, where: str = "--prices") -> Prices:
    """Return the catalogue's prices, overridden by the user's own.

    Args:
        own: Content of a file like prices.yaml; its entries override those of the same name.
        where: Origin of `own`, for error messages.

    Raises:
        EntryError: An entry is invalid.
    """
    data, ours = _built_in(), dict(own or {})
    if unknown := set(ours) - set(data):
        raise EntryError(
            f"{where}: unknown section {sorted(unknown)[0]}; write one of {', '.join(data)}."
        )
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
    """Return the entries of a section; the user's own override those with the same key."""
    found: dict[str, Any] = {}
    for entry in [*made(data[section]), *made(own.get(section, []))]:
        found[str([getattr(entry, name) for name in key])] = entry
    return list(found.values())


def _each(kind: type[Entry]) -> Any:
    return lambda items: [kind.model_validate(item) for item in items]


def _machines(offers: list[dict[str, Any]]) -> list[InstanceOffer]:
    return [
        InstanceOffer.model_validate(
            {**{k: v for k, v in offer.items() if k != "machines"}, **machine}
        )
        for offer in offers
        for machine in offer["machines"]
    ]
