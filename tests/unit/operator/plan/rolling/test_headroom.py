"""Capacity for replicas, and whether a rollout can surge."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.rolling.capacity import Demand, Holder
from deepseek_operator.plan.rolling.headroom import Headroom, headroom
from deepseek_operator.plan.rolling.rolling_update import Why
from deepseek_operator.plan.state.observed import NodeView, Observed, PodView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPU = "nvidia.com/gpu"
NODE = NodeView("a", {}, {GPU: "8"})


def demand(gpus: int) -> Demand:
    limits = {"resources": {"limits": {GPU: gpus}}} if gpus else {}
    return Demand.of({"containers": [{"name": "server", **limits}]})


def look(
    gpus: int, held: int, wanted: int, scheduled: int = 0, pods: int = 1, **policy: str
) -> Headroom:
    holder = Holder("apps", "train", None, {GPU: Fraction(held)})
    observed = Observed(
        pods=tuple(PodView(f"p{index}", scheduled=True) for index in range(scheduled))
    )
    rules = Rollout.model_validate(policy)
    return headroom(demand(gpus), [NODE], {"a": (holder,)}, observed, rules, wanted, pods, NOW)


@pytest.mark.parametrize(
    ("gpus", "held", "wanted", "scheduled", "free_slots", "enough", "why"),
    [
        (4, 0, 1, 0, 2, True, Why.FREE),
        (4, 0, 2, 0, 2, True, Why.BUSY),
        (4, 4, 2, 0, 1, False, Why.BUSY),
        (4, 4, 1, 1, 1, True, Why.FREE),
        (4, 8, 1, 1, 0, True, Why.BUSY),
        (0, 8, 1, 0, 1, True, Why.FREE),
    ],
)  # fmt: skip
def test_capacity_and_first_step(
    gpus: int, held: int, wanted: int, scheduled: int, free_slots: int, enough: bool, why: Why
) -> None:
    found = look(gpus, held, wanted, scheduled)
    assert found.step is not None
    assert (found.free_slots, found.enough, found.step.why) == (free_slots, enough, why)


def test_multi_pod_replica_needs_a_slot_for_each_pod() -> None:
    assert look(4, 0, 1, pods=2).free_slots == 1


def test_wait_policy_gives_a_wait_step() -> None:
    found = look(8, 8, 1, scheduled=1, whenNoGpuIsFree="wait")
    assert found.step is not None
    assert found.step.why is Why.WAIT


def test_two_set_strategies_have_no_step() -> None:
    assert look(8, 0, 1, strategy="blueGreen").step is None


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 4), st.integers(0, 4))
def test_rollout_surges_exactly_if_a_slot_is_left(
    gpus: int, held: int, wanted: int, scheduled: int
) -> None:
    found = look(gpus, held, wanted, scheduled)
    assert found.step is not None
    assert bool(found.step.surge) == (found.free_slots > found.missing)
    assert found.gpu_contention is not None
    assert found.gpu_contention.free == 8 - held
