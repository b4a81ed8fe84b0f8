"""The step of a rolling update: decision by decision, and whole rollouts against a simulated cluster."""

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
    Situation,
    Step,
    Why,
    look_again,
    needs_look,
    next_step,
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


def situation(**changes: Any) -> Situation:
    usual = Situation(
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


def changed(free: int | None, **changes: Any) -> Situation:
    return situation(changed=True, deployment=QUIET, free=free, **changes)


@pytest.mark.parametrize("step", [SURGE, IN_PLACE, WAIT, Step(Why.WITHDRAWN, 3)])
def test_a_step_survives_its_annotation(step: Step) -> None:
    assert Step.parse(str(step)) == step


@pytest.mark.parametrize("text", [None, "", "free", "free/x", "fast/1", "busy/-1"])
def test_an_annotation_that_somebody_wrote_is_no_step(text: str | None) -> None:
    assert Step.parse(text) is None


def test_a_free_gpu_is_used_for_a_surge() -> None:
    assert next_step(changed(free=1), IN_PLACE) == SURGE


def test_without_a_free_gpu_it_goes_in_place() -> None:
    assert next_step(changed(free=0), SURGE) == IN_PLACE


def test_who_waits_keeps_everything_serving() -> None:
    assert next_step(changed(free=0, policy=WAITS), SURGE) == WAIT
    stuck = situation(policy=WAITS, pods=(SERVING, pending(10 * STUCK_SECONDS)))
    assert next_step(stuck, WAIT) == WAIT
    assert look_again(stuck, WAIT) is None


def test_replicas_that_are_still_to_come_need_the_free_gpu_themselves() -> None:
    assert next_step(changed(free=1, wanted=2), SURGE) == IN_PLACE
    assert next_step(changed(free=2, wanted=2), SURGE) == SURGE


def test_the_gpu_of_a_pod_that_leaves_counts_as_free_while_it_has_time() -> None:
    assert next_step(changed(free=0, leaving=(START,)), SURGE) == SURGE
    overdue = START - timedelta(minutes=5)
    assert next_step(changed(free=0, leaving=(overdue,)), SURGE) == IN_PLACE


def test_an_edit_in_the_middle_of_a_surge_keeps_its_gpu() -> None:
    loading = PodView("new", running=True, scheduled=True)
    middle = changed(free=0, pods=(SERVING, loading))
    assert next_step(middle, SURGE) == SURGE


def test_nothing_changes_where_nothing_rolls_out() -> None:
    for live in (SURGE, IN_PLACE, Step(Why.WITHDRAWN, 2)):
        calm = situation(deployment=QUIET)
        assert next_step(calm, live) == live
        assert look_again(calm, live) is None
        assert not needs_look(calm, live, devices=True)


def test_a_surge_pod_that_finds_no_node_is_withdrawn_after_a_time() -> None:
    young = situation(pods=(SERVING, pending(PENDING_SECONDS - 10)))
    assert next_step(young, SURGE) == SURGE
    assert look_again(young, SURGE) == 10
    old = situation(pods=(SERVING, pending(PENDING_SECONDS)))
    assert next_step(old, SURGE) == Step(Why.WITHDRAWN, 1)


def test_it_is_not_withdrawn_while_the_gpu_that_it_needs_is_being_freed() -> None:
    freeing = situation(pods=(SERVING, pending(60)), leaving=(START + timedelta(seconds=20),))
    assert next_step(freeing, SURGE) == SURGE
    assert look_again(freeing, SURGE) == LOOK_SECONDS


def test_what_was_withdrawn_is_not_tried_again_in_this_rollout() -> None:
    withdrawn = Step(Why.WITHDRAWN, 1)
    assert not needs_look(situation(), withdrawn, devices=True)
    assert next_step(situation(free=4), withdrawn) == withdrawn
    assert next_step(changed(free=4), withdrawn) == SURGE


def test_a_gpu_that_becomes_free_turns_the_rest_into_a_surge() -> None:
    loading = PodView("new", running=True, scheduled=True)
    middle = situation(wanted=2, pods=(SERVING, loading))
    assert needs_look(middle, IN_PLACE, devices=True)
    assert look_again(middle, IN_PLACE) == LOOK_SECONDS
    assert next_step(replace(middle, free=0), IN_PLACE) == IN_PLACE
    assert next_step(replace(middle, free=1), IN_PLACE) == SURGE
    assert not needs_look(replace(middle, pods=(SERVING, pending(1))), IN_PLACE, devices=True)
    assert not needs_look(replace(middle, leaving=(START,)), IN_PLACE, devices=True)


def test_in_place_another_replica_is_given_up_only_for_one_that_waits_long() -> None:
    waiting = situation(wanted=3, pods=(SERVING, SERVING, pending(STUCK_SECONDS - 1)))
    assert next_step(waiting, IN_PLACE) == IN_PLACE
    longer = replace(waiting, pods=(SERVING, SERVING, pending(STUCK_SECONDS)))
    assert next_step(longer, IN_PLACE) == Step(Why.BUSY, 2)
    surplus = replace(longer, pods=(SERVING, SERVING, SERVING, pending(STUCK_SECONDS)))
    assert next_step(surplus, IN_PLACE) == IN_PLACE, "the old pod is only about to be stopped"


def test_a_cpu_model_surges_without_a_look_and_is_withdrawn_all_the_same() -> None:
    assert not needs_look(changed(free=None), SURGE, devices=False)
    assert next_step(changed(free=None), SURGE) == SURGE
    full = situation(pods=(SERVING, pending(PENDING_SECONDS)))
    assert next_step(full, SURGE).surge == 0


def test_a_changed_policy_counts_at_once() -> None:
    assert next_step(situation(policy=WAITS), IN_PLACE) == WAIT
    stuck = situation(pods=(SERVING, pending(PENDING_SECONDS)))
    assert next_step(stuck, WAIT) == Step(Why.WITHDRAWN, 1)


def rolled(world: World, others: list[int] | None = None) -> World:
    """A new template, rolled out while others take and give back GPUs."""
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
def test_with_a_spare_gpu_no_replica_is_missed(wanted: int, spare: int) -> None:
    world = rolled(World(wanted, wanted + spare, 0))
    assert min(world.served) == wanted
    assert world.steps == [SURGE]
    assert world.looks == 1


@UNHURRIED
@given(wanted=st.integers(1, 5), others=st.integers(0, 3))
def test_without_one_never_more_than_one_is_missed(wanted: int, others: int) -> None:
    world = rolled(World(wanted, wanted + others, others))
    assert min(world.served) == wanted - 1
    assert world.steps == [SURGE, IN_PLACE]


@UNHURRIED
@given(wanted=st.integers(1, 5))
def test_a_surge_that_the_scheduler_does_not_place_costs_one_replica_and_ends(wanted: int) -> None:
    """A node has a free GPU, but the scheduler has reasons of its own not to use it."""
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
def test_whatever_others_do_with_the_gpus_every_replica_becomes_new(
    wanted: int, gpus: int, others: list[int], start: int
) -> None:
    world = World(wanted, gpus, min(start, gpus - 1))
    before = min(wanted, gpus - world.others)
    # In the end there is a GPU for at least one replica; where there is none nobody can help.
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
def test_edits_in_the_middle_only_change_where_it_ends(others: list[int], edits: list[int]) -> None:
    world = World(3, 4, 0)
    world.settle()
    world.template += 1
    for number, held in enumerate([*others, 1]):
        world.template += edits.count(number)
        world.tick(held)
    for _ in range(LONG):
        world.tick()
    assert world.done


def test_who_waits_misses_nothing_however_long_it_takes() -> None:
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
