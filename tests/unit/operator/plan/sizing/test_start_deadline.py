"""Start deadline of a model server."""

import pytest

from deepseek_operator.plan.sizing.start_deadline import CAP_SECONDS, FLOOR_SECONDS, start_seconds
from tests.support.operator.resources import R1
from tests.unit.operator.render.test_children import config_of, made

V3 = 688_586_727_753


def test_deadline_depends_on_bytes_and_source() -> None:
    hub, claim = start_seconds(V3, "hub"), start_seconds(V3, "claim")
    # 688.6 GB at 25 MB/s, then at 131 MB/s, doubled; from the volume at 131 MB/s only, doubled.
    assert hub == pytest.approx(2 * (27543 + 5254) + 300, rel=0.001)
    assert claim == pytest.approx(2 * 5254 + 300, rel=0.001)
    assert start_seconds(V3, "hostPath") == claim


def test_deadline_has_a_floor_and_a_cap() -> None:
    assert start_seconds(3_000_000_000, "claim") == FLOOR_SECONDS
    assert start_seconds(0, "hub") == FLOOR_SECONDS
    assert start_seconds(10**13, "hub") == CAP_SECONDS


def test_unknown_size_gets_a_long_deadline() -> None:
    assert FLOOR_SECONDS < start_seconds(None, "hub") < CAP_SECONDS


def test_server_config_has_the_deadline() -> None:
    hub = config_of(made())["startSeconds"]
    claim = config_of(made(model={"id": R1, "source": {"pvc": {"claimName": "m"}}}))["startSeconds"]
    assert hub > claim > FLOOR_SECONDS
