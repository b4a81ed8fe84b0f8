"""Rolling updates: single decisions, and whole rollouts on a simulated cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_operator.api.rollout import Rollout
from deepseek_operator.plan.rolling.rolling_update import (
    IN_PLACE,
    LOOK_SECONDS,
    PENDING_SECONDS,
    STUCK_SECONDS,
    SURGE,
    WAIT,
    RolloutInput,
    Step,
    Why,
    needs_free_slots,
    next_step,
    seconds_to_next_look,
)
from deepseek_operator.plan.state.observed import DeploymentView, PodView
from tests.support.operator.simulated_rollout import START, World

WAITS = Rollout(when_no_gpu_is_free="wait")
SERVING = PodView("old", ready=True, running=True, scheduled=True)
ROLLING = DeploymentView(replicas=2, updated=1, wanted=1, settled=True)
QUIET = DeploymentView(replicas=1, updated=1, wanted=1, settled=True)
# Enough steps of five seconds for every rollout here to end, waiting included.
LONG = 1000
# A busy machine makes a simulation slow, not wrong.
UNHURRIED = settings(deadline=None)
MANY = settings(deadline=None, max_examples=300)


def pending(seconds: float) -> PodView:
    since = START - timedelta(seconds=seconds)
    return PodView("new", unscheduled="busy", unscheduled_since=since)


def inputs(**changes: Any) -> RolloutInput:
    usual = RolloutInput(
        policy=Rollout(),
        wanted=1,
        changed=False,
        deployment=ROLLING,
        pods=(SERVING,),
        leaving=(),
        free=None,
        now=START,
    )
    return replace(usual, **changes)


def changed(free: int | None, **changes: Any) -> RolloutInput:
    return inputs(changed=True, deployment=QUIET, free=free, **changes)


@pytest.mark.parametrize("step", [SURGE, IN_PLACE, WAIT, Step(Why.WITHDRAWN, 3)])
def test_step_round_trips_through_its_annotation(step: Step) -> None:
    assert Step.parse(str(step)) == step


@pytest.mark.parametrize("text", [None, "", "free", "free/x", "fast/1", "busy/-1"])
def test_invalid_annotation_is_no_step(text: str | None) -> None:
    assert Step.parse(text) is None


def test_free_gpu_is_used_for_a_surge() -> None:
    assert next_step(changed(free=1), IN_PLACE) == SURGE


def test_rollout_without_a_free_gpu_is_in_place() -> None:
    assert next_step(changed(free=0), SURGE) == IN_PLACE


def test_wait_policy_keeps_all_replicas() -> None:
    assert next_step(changed(free=0, policy=WAITS), SURGE) == WAIT
    stuck = inputs(policy=WAITS, pods=(SERVING, pending(10 * STUCK_SECONDS)))
    assert next_step(stuck, WAIT) == WAIT
    assert seconds_to_next_look(stuck, WAIT) is None


def test_missing_replicas_take_free_gpus_first() -> None:
    assert next_step(changed(free=1, wanted=2), SURGE) == IN_PLACE
    assert next_step(changed(free=2, wanted=2), SURGE) == SURGE


def test_gpu_of_a_terminating_pod_counts_as_free_until_its_deadline() -> None:
    assert next_step(changed(free=0, leaving=(START,)), SURGE) == SURGE
    overdue = START - timedelta(minutes=5)
    assert next_step(changed(free=0, leaving=(overdue,)), SURGE) == IN_PLACE


def test_edit_during_a_surge_keeps_its_gpu() -> None:
    loading = PodView("new", running=True, scheduled=True)
    middle = changed(free=0, pods=(SERVING, loading))
    assert next_step(middle, SURGE) == SURGE


def test_step_is_kept_without_a_rollout() -> None:
    for live in (SURGE, IN_PLACE, Step(Why.WITHDRAWN, 2)):
        calm = inputs(deployment=QUIET)
        assert next_step(calm, live) == live
        assert seconds_to_next_look(calm, live) is None
        assert not needs_free_slots(calm, live, devices=True)


def test_unschedulable_surge_pod_is_withdrawn_after_a_time() -> None:
    young = inputs(pods=(SERVING, pending(PENDING_SECONDS - 10)))
    assert next_step(young, SURGE) == SURGE
    assert seconds_to_next_look(young, SURGE) == 10
    old = inputs(pods=(SERVING, pending(PENDING_SECONDS)))
    assert next_step(old, SURGE) == Step(Why.WITHDRAWN, 1)


def test_surge_is_kept_while_a_gpu_is_being_freed() -> None:
    freeing = inputs(pods=(SERVING, pending(60)), leaving=(START + timedelta(seconds=20),))
    assert next_step(freeing, SURGE) == SURGE
    assert seconds_to_next_look(freeing, SURGE) == LOOK_SECONDS


def test_withdrawn_surge_is_not_retried_in_the_same_rollout() -> None:
    withdrawn = Step(Why.WITHDRAWN, 1)
    assert not needs_free_slots(inputs(), withdrawn, devices=True)
    assert next_step(inputs(free=4), withdrawn) == withdrawn
    assert next_step(changed(free=4), withdrawn) == SURGE


def test_gpu_that_becomes_free_starts_a_surge() -> None:
    loading = PodView("new", running=True, scheduled=True)
    middle = inputs(wanted=2, pods=(SERVING, loading))
    assert needs_free_slots(middle, IN_PLACE, devices=True)
    assert seconds_to_next_look(middle, IN_PLACE) == LOOK_SECONDS
    assert next_step(replace(middle, free=0), IN_PLACE) == IN_PLACE
    assert next_step(replace(middle, free=1), IN_PLACE) == SURGE
    assert not needs_free_slots(replace(middle, pods=(SERVING, pending(1))), IN_PLACE, devices=True)
    assert not needs_free_slots(replace(middle, leaving=(START,)), IN_PLACE, devices=True)


def test_in_place_stops_another_replica_only_after_a_long_wait() -> None:
    waiting = inputs(wanted=3, pods=(SERVING, SERVING, pending(STUCK_SECONDS - 1)))
    assert next_step(waiting, IN_PLACE) == IN_PLACE
    longer = replace(waiting, pods=(SERVING, SERVING, pending(STUCK_SECONDS)))
    assert next_step(longer, IN_PLACE) == Step(Why.BUSY, 2)
    surplus = replace(longer, pods=(SERVING, SERVING, SERVING, pending(STUCK_SECONDS)))
    assert next_step(surplus, IN_PLACE) == IN_PLACE, "the old pod is only about to be stopped"


def test_cpu_model_surges_without_checking_gpus() -> None:
    assert not needs_free_slots(changed(free=None), SURGE, devices=False)
    assert next_step(changed(free=None), SURGE) == SURGE
    full = inputs(pods=(SERVING, pending(PENDING_SECONDS)))
    assert next_step(full, SURGE).surge == 0


def test_changed_policy_applies_at_once() -> None:
    assert next_step(inputs(policy=WAITS), IN_PLACE) == WAIT
    stuck = inputs(pods=(SERVING, pending(PENDING_SECONDS)))
    assert next_step(stuck, WAIT) == Step(Why.WITHDRAWN, 1)


def rolled(world: World, others: list[int] | None = None) -> World:
    """Roll out a new template while others take and release GPUs."""
    world.settle()
    world.template += 1
    for number in others or []:
        world.tick(number)
    for _ in range(LONG):
        if world.done:
            return world
        world.tick()
    raise AssertionError(f"never done: {world.step}, {[vars(pod) for pod in world.pods]}")


@UNHURRIED
@given(wanted=st.integers(1, 5), spare=st.integers(1, 3))
def test_rollout_with_a_spare_gpu_keeps_all_replicas(wanted: int, spare: int) -> None:
    world = rolled(World(wanted, wanted + spare, 0))
    assert min(world.served) == wanted
    assert world.steps == [SURGE]
    assert world.looks == 1


@UNHURRIED
@given(wanted=st.integers(1, 5), others=st.integers(0, 3))
def test_rollout_without_a_spare_gpu_misses_at_most_one_replica(wanted: int, others: int) -> None:
    world = rolled(World(wanted, wanted + others, others))
    assert min(world.served) == wanted - 1
    assert world.steps == [SURGE, IN_PLACE]


@UNHURRIED
@given(wanted=st.integers(1, 5))
def test_unscheduled_surge_costs_one_replica_and_ends(wanted: int) -> None:
    """A node has a free GPU that the scheduler can't use for other reasons."""
    world = World(wanted, wanted + 1, 0, obstacle=lambda world: world.free <= 1)
    world = rolled(world)
    assert min(world.served) == wanted - 1
    assert world.steps == [SURGE, Step(Why.WITHDRAWN, 1)]


@MANY
@given(
    wanted=st.integers(1, 5),
    gpus=st.integers(1, 8),
    others=st.lists(st.integers(0, 8), max_size=60),
    start=st.integers(0, 7),
)
def test_rollout_completes_under_competing_gpu_usage(
    wanted: int, gpus: int, others: list[int], start: int
) -> None:
    world = World(wanted, gpus, min(start, gpus - 1))
    before = min(wanted, gpus - world.others)
    # At the end there is a GPU for at least one replica; without one no rollout can finish.
    world = rolled(world, [*others, gpus - 1])
    allowed = max(step.unavailable for step in world.steps)
    assert min(world.served) >= min(before, wanted - allowed)
    steps = world.steps[1:]
    assert len([step for step in steps if step.why is Why.FREE]) <= 1, "it flaps"
    numbers = [step.unavailable for step in steps if step.why is not Why.FREE]
    assert numbers == sorted(numbers)


@UNHURRIED
@given(
    others=st.lists(st.integers(0, 4), max_size=40), edits=st.lists(st.integers(0, 39), max_size=4)
)
def test_edits_during_a_rollout_end_at_the_newest_template(
    others: list[int], edits: list[int]
) -> None:
    world = World(3, 4, 0)
    world.settle()
    world.template += 1
    for number, held in enumerate([*others, 1]):
        world.template += edits.count(number)
        world.tick(held)
    for _ in range(LONG):
        world.tick()
    assert world.done


def test_wait_policy_misses_no_replica() -> None:
    world = World(2, 3, 1, policy=WAITS)
    world.settle()
    world.template += 1
    for _ in range(LONG):
        world.tick(1)
    assert min(world.served) == 2
    assert not world.done
    while not world.done:
        world.tick(0)
    assert min(world.served) == 2
