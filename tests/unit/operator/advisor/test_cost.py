"""Costs, in figures that can be checked by hand."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.advisor.cost import Offer, Pods, as_service, owned, per_million, rented
from deepseek_operator.advisor.workload import Load
from deepseek_operator.catalog.entries import EntryError
from deepseek_operator.catalog.prices import Prices, prices

TODAY = date(2026, 11, 28)
H100 = "nvidia-h100"


def cheapest(offers: list[Offer], terms: str, where: str = "") -> Offer:
    return min(
        (offer for offer in offers if offer.terms == terms and where in offer.where),
        key=lambda offer: offer.per_hour,
    )


def with_price(machine: str, per_hour: float) -> Prices:
    item = {"name": machine, "profile": H100, "gpus": 8, "perHour": per_hour}
    offer: dict[str, Any] = {"cloud": "aws", "region": "us-east-1", "machines": [item]}
    return prices({"offers": [{**offer, "asOf": "2026-11-01", "source": "a contract"}]})


def test_cheapest_cloud_machines_that_hold_the_pods_are_used() -> None:
    offers = rented(prices(), Pods(H100, 1, 3), TODAY)
    assert cheapest(offers, "on demand", "aws").what == "3 x p5.4xlarge"
    assert cheapest(offers, "on demand", "aws").per_hour == pytest.approx(3 * 6.88)
    assert cheapest(offers, "on demand", "gcp").per_hour == pytest.approx(3 * 11.061)
    assert cheapest(offers, "spot", "aws").what.startswith("1 x p5.48xlarge")


def test_pod_of_eight_gpus_needs_a_machine_of_eight() -> None:
    offers = rented(prices(), Pods(H100, 8, 2), TODAY)
    offer = cheapest(offers, "on demand", "aws")
    assert (offer.what, offer.per_hour) == ("2 x p5.48xlarge", pytest.approx(110.08))
    assert offer.per_month(8 / 24) == pytest.approx(110.08 * 730 / 3)


def test_reserved_machines_are_cheaper_and_marked_as_assumed() -> None:
    offers = rented(prices(), Pods(H100, 8, 1), TODAY)
    offer = cheapest(offers, "reserved")
    assert offer.per_hour == pytest.approx(55.04 * 0.55)
    assert "assumed" in offer.doubts


def test_old_prices_are_marked_as_stale() -> None:
    assert "stale" not in rented(prices(), Pods(H100, 8, 1), date(2026, 8, 10))[-1].doubts
    assert all(
        "stale" in offer.doubts for offer in rented(prices(), Pods(H100, 8, 1), date(2027, 9, 1))
    )


def test_cost_of_an_own_machine() -> None:
    """317,000 less a quarter over 36 months, 10.2 kW x 1.5 x 730 h x 0.12, 2,040 for the room."""
    (offer,) = owned(prices(), Pods(H100, 8, 1), TODAY)
    by_hand = 317_000 * 0.75 / 36 + 10.2 * 1.5 * 730 * 0.12 + 2040
    assert offer.per_month() == pytest.approx(by_hand)
    (with_people,) = owned(prices(), Pods(H100, 8, 1), TODAY, people=10_000)
    assert with_people.per_month() == pytest.approx(by_hand + 10_000)
    assert "without people" in offer.doubts
    assert "without people" not in with_people.doubts


def test_staff_cost_is_independent_of_machines() -> None:
    (one,), (two,) = (owned(prices(), Pods(H100, 8, n), TODAY, people=1e6) for n in (1, 2))
    assert two.per_month() - one.per_month() < 20_000


def test_hosted_api_is_priced_by_tokens() -> None:
    load = Load(1, 1000, 500)
    (offer,) = as_service(prices(), "deepseek-ai/DeepSeek-R1", load, TODAY)
    assert offer.per_month() == pytest.approx(3600 * 730 * (1000 * 0.55 + 500 * 2.19) / 1e6)
    assert offer.doubts == ("stale", "not sold any more")
    (hits,) = as_service(prices(), "deepseek-ai/DeepSeek-R1", load, TODAY, cached=1)
    assert hits.per_month() == pytest.approx(3600 * 730 * (1000 * 0.14 + 500 * 2.19) / 1e6)
    assert as_service(prices(), "deepseek-ai/DeepSeek-V2-Lite", load, TODAY) == []


def test_peak_hours_have_their_own_price() -> None:
    load = Load(1, 1000, 0)
    quiet, busy = (
        as_service(prices(), "deepseek-ai/DeepSeek-V4-Pro", load, TODAY, peak=share)[0].per_month()
        for share in (0, 1)
    )
    assert busy == pytest.approx(2 * quiet)


def test_cost_per_million_tokens() -> None:
    assert per_million(10, 2e6) == 5
    assert per_million(10, 0) is None


def test_price_without_a_source_is_refused() -> None:
    with pytest.raises(EntryError, match="source"):
        prices({"running": {"years": {"value": 5, "asOf": "2026-01-01"}}})


@given(st.floats(0.1, 200), st.floats(0.1, 1), st.integers(1, 8), st.integers(1, 40))
def test_lower_price_never_raises_a_cost(price: float, cut: float, gpus: int, count: int) -> None:
    pods = Pods(H100, gpus, count)
    before, after = (
        {
            (offer.terms, offer.where): offer.per_hour
            for offer in reversed(rented(known, pods, TODAY))
        }
        for known in (with_price("p5.48xlarge", price), with_price("p5.48xlarge", price * cut))
    )
    assert after.keys() == before.keys()
    assert all(after[key] <= before[key] + 1e-9 for key in before)


@given(st.integers(1, 8), st.integers(1, 40))
def test_more_pods_never_cost_less(gpus: int, count: int) -> None:
    few, more = (rented(prices(), Pods(H100, gpus, n), TODAY) for n in (count, count + 1))
    for terms in ("on demand", "spot", "reserved"):
        assert cheapest(few, terms).per_hour <= cheapest(more, terms).per_hour
